"""Writes: each goes to every cloud at once, once, and its answer says what came of it in each.

The only time-out is Envoy's for idle streams. Nothing is repeated, and a client that leaves does
not reset what was sent. If a cloud cannot be asked, nothing is sent to any cloud.
"""

from typing import Final

from scopeway.control_plane.collector.handlers.chosen_ids import ChosenId, choose_id
from scopeway.control_plane.collector.handlers.one import passed_on
from scopeway.control_plane.collector.handlers.write_results import (
    WriteResult,
    id_in,
    outcome,
    report_document,
)
from scopeway.control_plane.collector.http.server import REPORT_HEADER, Writer
from scopeway.control_plane.collector.limits import TooMuchKept
from scopeway.control_plane.collector.messages.answer import Answer, reason_of
from scopeway.control_plane.collector.messages.report import error_body, report_for, write_header
from scopeway.control_plane.collector.messages.request import FanoutRequest
from scopeway.control_plane.collector.sub_requests.fan_out import FanOut

MAX_ANSWER: Final = 1 << 20
"""Bytes of one cloud's answer to a write."""

_NOT_SENT: Final = (b"x-scopeway-unsent", b"x-scopeway-unreachable")
"""Headers of answers that an Envoy made, since it could not send a request on."""
_MAX_LOCATION: Final = 2048


async def write(request: FanoutRequest, clouds: FanOut, out: Writer) -> None:
    """Carry out a write in all clouds.

    Raises:
        Refused: Nothing was sent, and the reason why.
    """
    if request.missing:
        _refuse(request, out)
        return
    body, chosen = choose_id(request)
    if chosen is not None and not chosen.by_client:
        clouds.keep(len(body))  # besides the body that the client sent
    found: dict[str, tuple[WriteResult, Answer]] = {}
    async for answer in clouds.each(request.members, body=body, limit=MAX_ANSWER):
        found[answer.cloud] = _result(answer, clouds, chosen)
    results = [found[each][0] for each in request.members]
    ending = outcome(request, results, chosen)
    header = write_header((each.cloud, each.status, each.id, each.reason) for each in results)
    report = report_document(results, ending.done)
    if ending.answer is None:
        out.error(500, error_body(500, ending.message, report, title=ending.title), header)
        return
    answer = found[request.members[ending.answer]][1]
    if not answer.cause:
        headers = [*passed_on(answer), (REPORT_HEADER, header)]
        out.whole(answer.status, headers, bytes(answer.body))
    elif results[ending.answer].succeeded:
        message = f"{request.method} was done, but its answer is lost: {answer.reason}"
        out.error(500, error_body(500, message, report, title="Done"), header)
    else:
        message = f"nothing was sent to any cloud: {answer.reason}"
        out.error(answer.status, error_body(answer.status, message, report), header)


def _result(answer: Answer, clouds: FanOut, chosen: ChosenId | None) -> tuple[WriteResult, Answer]:
    """Return what a report says of an answer, and a copy of the answer that stays."""
    kept = Answer(answer.cloud)
    kept.status, kept.cause, kept.reason = answer.status, answer.cause, answer.reason
    kept.headers = answer.headers
    if not answer.cause:
        try:
            clouds.keep(len(answer.body))
            kept.body = bytearray(answer.body)
        except TooMuchKept as error:
            kept.fail(answer.status, "too-large", str(error))
    succeeded = not answer.cause and 200 <= answer.status < 300
    identifier = id_in(bytes(answer.body)) if succeeded else None
    if identifier is None and succeeded and chosen is not None:
        identifier = chosen.id
    location = answer.header(b"location") if not answer.cause else None
    return (
        WriteResult(
            answer.cloud,
            answer.status,
            reason="" if succeeded else reason_of(answer),
            id=identifier,
            location=location[:_MAX_LOCATION].decode("latin-1") if location else None,
            unsent=_is_unsent(answer),
        ),
        kept,
    )


def _is_unsent(answer: Answer) -> bool:
    """Return whether a service surely did not get a request: an Envoy says so, of it or its peer.

    A service that claims it is not believed (`fanout_routes.collect`). A 404 is no claim of
    success, whoever made it: it is enough that it says to be of an Envoy.
    """
    if answer.status == 404 and answer.is_rejected:
        return True
    return answer.cause == "unreachable" or any(
        answer.header(each) == b"true" for each in _NOT_SENT
    )


def _refuse(request: FanoutRequest, out: Writer) -> None:
    """Refuse a write to clouds some of which cannot be asked.

    Never by a 404: to a client that deletes, that means that nothing is there.
    """
    statuses = {400 if each.status == 404 else each.status for each in request.missing}
    status = statuses.pop() if len(statuses) == 1 else 400
    report = report_for(request)
    reasons = ", ".join(f"{each.cloud}: {each.reason}" for each in report.failed)
    message = f"nothing was sent to any cloud: {reasons}"
    out.error(status, error_body(status, message, report), report.header())
