"""`a ^ b`: the resource of the one cloud that has it (`Way.EXACTLY_ONE`).

It finds a resource whose name or id must be unique among clouds, or reports the conflict. So every
cloud must answer: if one does not, nobody knows whether it has the resource, too.
"""

from scopeway.control_plane.collector.handlers.one import NOT_THERE, pass_on, passed_on
from scopeway.control_plane.collector.handlers.refusals import common_status
from scopeway.control_plane.collector.http.server import REPORT_HEADER, Writer
from scopeway.control_plane.collector.messages.answer import Answer, failure_of
from scopeway.control_plane.collector.messages.report import error_body, report_for
from scopeway.control_plane.collector.messages.request import FanoutRequest
from scopeway.control_plane.collector.sub_requests.answers import Head
from scopeway.control_plane.collector.sub_requests.fan_out import FanOut


async def exactly_one(request: FanoutRequest, clouds: FanOut, out: Writer) -> None:
    """Answer with the resource of the only cloud that has it; 409 if two have it."""
    report = report_for(request)
    found: Head | None = None
    not_there: tuple[Answer, bytes] | None = None
    async for head in clouds.heads(request.members if not request.missing else ()):
        answer = head.answer
        if answer.ok:
            report.answered += 1
            if found is not None:
                names = sorted((found.answer.cloud, answer.cloud), key=request.members.index)
                message = f"{' and '.join(names)} both have it"
                out.error(409, error_body(409, message, report), report.header())
                return
            found = head
            head.keep()
            continue
        await head.collect()
        if answer.status in NOT_THERE and not answer.cause and not answer.is_rejected:
            report.answered += 1
            not_there = not_there or (answer, bytes(answer.body))
        else:
            report.fail(failure_of(answer))
    if report.failed:
        has = f"{found.answer.cloud} has it, but " if found is not None else ""
        status = 502 if report.answered or request.missing else common_status(report)
        message = f"whether exactly one cloud has it is not known: {has}{report.sentence()}"
        out.error(status, error_body(status, message, report), report.header())
    elif found is not None:
        await pass_on(out, found)
    elif not_there is not None:
        answer, body = not_there
        headers = [*passed_on(answer), (REPORT_HEADER, report.header())]
        out.whole(answer.status, headers, body)
