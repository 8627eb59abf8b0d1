"""One resource: the first cloud that has it (`Way.ONE`).

Its answer is passed on as it comes, and all other sub-requests are reset. "Nobody has it" is said
only if each cloud has said so.
"""

from typing import Final

from scopeway.control_plane.collector.handlers.places import Places
from scopeway.control_plane.collector.http.server import REPORT_HEADER, Writer
from scopeway.control_plane.collector.messages.answer import Answer, failure_of
from scopeway.control_plane.collector.messages.report import error_body, report_for
from scopeway.control_plane.collector.messages.request import FanoutRequest, Header
from scopeway.control_plane.collector.sub_requests.answers import Head
from scopeway.control_plane.collector.sub_requests.fan_out import FanOut

NOT_THERE: Final = (404, 410)

_HOP_BY_HOP: Final = frozenset(
    (
        b"connection",
        b"content-length",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)


async def one(request: FanoutRequest, clouds: FanOut, out: Writer, places: Places) -> None:
    """Answer with the resource of the first cloud that has it."""
    search = _Search(request, clouds, out, places)
    hint = places.find(request)
    if hint is not None and await search.ask([hint]):
        return
    rest = [each for each in request.members if each != hint]
    probe = _probe(request)
    if probe is not None and len(rest) > 1:
        rest = await search.probe(rest, *probe)
    if not await search.ask(rest):
        search.give_up()


class _Search:
    """What the clouds said so far."""

    def __init__(self, request: FanoutRequest, clouds: FanOut, out: Writer, places: Places) -> None:
        self._request = request
        self._clouds = clouds
        self._out = out
        self._places = places
        self._report = report_for(request)
        self._not_there: Answer | None = None
        """The first that said so."""
        self._other: Answer | None = None
        """The first with another error of the client's."""

    async def ask(self, asked: list[str]) -> bool:
        """Ask some clouds; return whether one of them has answered the request."""
        async for head in self._clouds.heads(asked):
            if head.answer.ok:
                self._places.put(self._request, head.answer.cloud)
                await pass_on(self._out, head)
                return True
            self._note(await head.collect())
        return False

    async def probe(self, asked: list[str], method: str, location: str) -> list[str]:
        """Look where a large body is, without its bytes; return the one cloud to ask, or none."""
        locations = dict.fromkeys(asked, location)
        async for head in self._clouds.heads(asked, method=method, locations=locations):
            if head.answer.ok:
                return [head.answer.cloud]
            self._note(await head.collect())
        return []

    def give_up(self) -> None:
        """Answer that nobody has it, or that this is not known."""
        report = self._report
        unknown = [each for each in report.failed if each.status >= 500 or each.cause == "policy"]
        answer = self._other or self._not_there
        if unknown:
            body = error_body(502, f"not found, but {report.sentence()}", report)
            self._out.error(502, body, report.header())
        elif answer is None:  # no cloud could be asked
            self._out.error(404, error_body(404, report.sentence(), report), report.header())
        else:
            headers = [*passed_on(answer), (REPORT_HEADER, report.header())]
            self._out.whole(answer.status, headers, bytes(answer.body))

    def _note(self, answer: Answer) -> None:
        if answer.status in NOT_THERE:
            self._report.answered += 1
            self._not_there = self._not_there or _kept(answer)
            return
        self._report.fail(failure_of(answer))
        if 400 <= answer.status < 500 and not answer.cause:
            self._other = self._other or _kept(answer)


async def pass_on(out: Writer, head: Head) -> None:
    """Pass an answer on as it comes, and reset all other sub-requests."""
    answer = head.answer
    length = answer.header(b"content-length")
    headers = passed_on(answer)
    out.begin(
        answer.status,
        headers,
        length=int(length) if length is not None and length.isdigit() else None,
    )
    if await head.relay(out):
        out.end()
    else:
        out.abort()


def passed_on(answer: Answer) -> list[Header]:
    """Return the headers of one cloud's answer for the client: none that Scopeway has to say."""
    headers = [
        each
        for each in answer.headers
        if each[0] not in _HOP_BY_HOP and not each[0].startswith(b"x-scopeway-")
    ]
    headers.append((b"x-scopeway-served-by", answer.cloud.encode()))
    if answer.is_rejected:
        headers.append((b"x-scopeway-rejected", b"true"))
    return headers


def _kept(answer: Answer) -> Answer:
    """Return a copy that stays valid."""
    kept = Answer(answer.cloud)
    kept.status, kept.headers, kept.body = answer.status, answer.headers, bytearray(answer.body)
    return kept


def _probe(request: FanoutRequest) -> tuple[str, str] | None:
    """Return method and location that tell who has a body that may be large; None: it is not."""
    if request.method != "GET":
        return None
    if request.service == "image" and request.path.endswith("/file"):
        return "GET", request.path.removesuffix("/file")
    if request.service == "object-store":
        return "HEAD", request.location
    return None
