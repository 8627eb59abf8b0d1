"""A page of each cloud, joined as they come (`Way.UNION`).

    {"images": [{"scopeway:cloud": "a", …}, …], "next": "…", "scopeway:report": {…}}

No more is in memory than the page of one cloud, and what has come of the next ones. The report
comes last, as only then it is known. Where it must be known first, the answer is held back while
there is room: with `X-Scope-Require: all`, and where the list is the whole body (an array), whose
report is a header. Once such an answer has begun, a failure breaks it off.
"""

from collections.abc import Mapping
from typing import Final

from scopeway.control_plane.collector.handlers.refusals import refuse
from scopeway.control_plane.collector.http.server import JSON, REPORT_HEADER, Writer
from scopeway.control_plane.collector.limits import TooMuchKept
from scopeway.control_plane.collector.listing.items import (
    CloudPage,
    Malformed,
    SeenIds,
    ids_decoder,
    read_page,
)
from scopeway.control_plane.collector.listing.markers import (
    InvalidMarker,
    MarkerRoom,
    is_composite,
    pack_marker,
    read_marker,
)
from scopeway.control_plane.collector.messages.answer import Answer, failure_of
from scopeway.control_plane.collector.messages.links import next_link, with_marker
from scopeway.control_plane.collector.messages.report import REPORT, Failure, Report, report_for
from scopeway.control_plane.collector.messages.request import FanoutRequest
from scopeway.control_plane.collector.messages.service_lists import ServiceList
from scopeway.control_plane.collector.sub_requests.fan_out import FanOut

PIECE: Final = 64 << 10
"""Bytes of items that are written at a time."""
HELD_BACK: Final = 2 << 20
"""Bytes of an answer that is held back until all clouds have answered."""
NO_ROOM: Final = "the link to the next page has no room left for this cloud; a later page has it"


async def union(request: FanoutRequest, clouds: FanOut, out: Writer, wanted: ServiceList) -> None:
    """Answer the request for a list with a page of each cloud.

    Raises:
        InvalidMarker: The marker is not one of such a list.
    """
    request.drop_conditions()
    report = report_for(request)
    if request.require_all and report.failed:
        refuse(out, request, report)
        return
    positions = _positions(request)
    asked = [each for each in request.members if positions.get(each, "") is not None]
    # where no cloud has a marker, the request goes out as it came
    locations = {each: with_marker(request, positions.get(each)) for each in asked if positions}
    room = MarkerRoom(positions, request.members)
    body = _Body(request, clouds, out, wanted, report)
    after: dict[str, str | None] = {k: v for k, v in positions.items() if v is None}
    more = False
    async for answer in clouds.each(asked, locations=locations):
        following = await _take(answer, wanted, body, report, room)
        if following is not None:
            after[answer.cloud] = following or None
            more = more or bool(following)
        elif request.require_all or (body.is_array and out.begun):
            refuse(out, request, report)
            return
        elif answer.cloud in positions:  # it keeps its place: the next page asks it again
            after[answer.cloud] = positions[answer.cloud]
    if asked and not report.answered:
        refuse(out, request, report)
        return
    more = more or room.lacked
    link = next_link(request, wanted, pack_marker(after, request.members)) if more else b""
    body.end(link)


def _positions(request: FanoutRequest) -> Mapping[str, str | None]:
    """Return where each cloud goes on: its own marker; None where it has no more."""
    marker = next((value for name, value in request.parameters() if name == "marker"), "")
    if not marker:
        return {}
    if not is_composite(marker):
        raise InvalidMarker(
            "this marker is not of a list of several clouds: follow the next links as they are"
        )
    return read_marker(marker, request.members)


async def _take(
    answer: Answer, wanted: ServiceList, body: "_Body", report: Report, room: MarkerRoom
) -> str | None:
    """Write the items of a cloud; return its marker, "" at its end, None if it failed.

    A function of its own, so that nothing holds the page while the next one is awaited.
    """
    failure, page = _read(answer, wanted)
    if page is not None and not room.take(answer.cloud, page.next_marker):
        # it keeps its place, and comes on a later page: others have ended by then
        failure = Failure(answer.cloud, answer.status, "too-large", NO_ROOM)
    if failure is not None or page is None:
        assert failure is not None
        report.fail(failure)
        return None
    report.answered += 1
    await body.add(answer.cloud, page)
    return page.next_marker or ""


def _read(answer: Answer, wanted: ServiceList) -> tuple[Failure | None, CloudPage | None]:
    """Return the page of a cloud, or why there is none."""
    if answer.cause or answer.status >= 400:
        return failure_of(answer), None
    if answer.status >= 300:
        reason = f"a redirect ({answer.status}) instead of a list"
        return Failure(answer.cloud, answer.status, "malformed", reason), None
    try:
        page = read_page(answer.body, wanted)
        page.check()
    except Malformed as error:
        return Failure(answer.cloud, 502, "malformed", str(error)), None
    return None, page


class _Body:
    """The body of the union."""

    def __init__(
        self,
        request: FanoutRequest,
        clouds: FanOut,
        out: Writer,
        wanted: ServiceList,
        report: Report,
    ) -> None:
        self.is_array = not wanted.key
        self._clouds = clouds
        self._out = out
        self._report = report
        self._wanted = wanted
        self._holds_back = self.is_array or request.require_all
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._empty = True
        self._seen = SeenIds() if wanted.replicas else None

    async def add(self, cloud: str, page: CloudPage) -> None:
        """Write the items of a cloud."""
        watch = self._clouds.end_if_crowded(self._out.abort)
        try:
            await self._add(cloud, page)
        finally:
            watch.stop()

    async def _add(self, cloud: str, page: CloudPage) -> None:
        new = self._new(page)
        piece: list[bytes] = []
        size = 0
        for at, item in enumerate(page.named(cloud)):
            if new is not None and not new[at]:
                continue
            piece.append(item)
            size += len(item) + 2
            if size >= PIECE:
                await self._write(piece)
                piece, size = [], 0
        if piece:
            await self._write(piece)

    def end(self, link: bytes) -> None:
        """Write what comes behind the items."""
        if not self._out.begun:
            self._begin(self._report.header(names=self.is_array))
        tail = b"]"
        if not self.is_array:
            tail += b", " + link if link else b""
            tail += b', "%b": %b}' % (REPORT.encode(), self._report.json())
        self._out.write(tail)
        self._out.end()

    async def _write(self, piece: list[bytes]) -> None:
        data = (b"" if self._empty else b", ") + b", ".join(piece)
        self._empty = False
        if not self._out.begun and self._hold(data):
            return
        if not self._out.begun:
            self._begin(self._early_header())
        self._out.write(data)
        await self._out.drain()

    def _hold(self, data: bytes) -> bool:
        """Hold a piece back, if it has to be and there is room."""
        if not self._holds_back or self._held_bytes + len(data) > HELD_BACK:
            return False
        try:
            self._clouds.keep(len(data))
        except TooMuchKept:
            return False
        self._held.append(data)
        self._held_bytes += len(data)
        return True

    def _begin(self, report: bytes) -> None:
        self._out.begin(200, [(b"content-type", JSON), (REPORT_HEADER, report)])
        self._out.write(b"[" if self.is_array else b'{"%b": [' % self._wanted.key.encode())
        for each in self._held:
            self._out.write(each)
        self._held.clear()

    def _early_header(self) -> bytes:
        if not self._holds_back:
            return self._report.early_header()
        # from here on each failure breaks the answer off: so all others will have answered
        rest = Report(self._report.asked, failed=self._report.failed)
        rest.answered = rest.asked - len(rest.failed)
        return rest.header(names=self.is_array)

    def _new(self, page: CloudPage) -> list[bool] | None:
        """Return of each item whether no cloud has given it before; None: all are new."""
        if self._seen is None:
            self._report.unchecked += len(page.items) if self._wanted.replicas else 0
            return None
        seen = self._seen
        new: list[bool] = []
        for each in ids_decoder(self._wanted.id).decode(page.array):
            identifier = bytes(each.id)
            if seen.is_full:
                try:
                    self._clouds.keep(seen.size)
                except TooMuchKept:
                    self._seen = None
                    self._report.unchecked += len(page.items) - len(new)
                    new += [True] * (len(page.items) - len(new))
                    break
                seen.grow()
            new.append(not identifier or seen.add(identifier))
        self._report.replicas += new.count(False)
        return new
