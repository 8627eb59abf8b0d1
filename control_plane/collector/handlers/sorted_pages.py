"""Sorted and limited pages of a list of several clouds (`Way.SORTED`).

    GET /v2/images?limit=100&sort=name:asc

The answer is the first 100 items of all clouds, and a `next` link whose marker says how far each
cloud has been read. A cloud that fails keeps its place there: the next page asks it again.

Lists of an object store are sorted by name, and their marker is a name that every cloud takes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final
from urllib.parse import quote, unquote_plus

from scopeway.control_plane.collector.handlers.refusals import refuse
from scopeway.control_plane.collector.http.server import JSON, REPORT_HEADER, Writer
from scopeway.control_plane.collector.listing.cursors import Cursors
from scopeway.control_plane.collector.listing.items import Malformed, cloud_field, read_page
from scopeway.control_plane.collector.listing.markers import (
    InvalidMarker,
    is_composite,
    pack_marker,
    read_marker,
    refuse_too_many,
)
from scopeway.control_plane.collector.listing.page import PageBuilder, Question, SortedPage
from scopeway.control_plane.collector.listing.sort_order import SortOrder, sort_order
from scopeway.control_plane.collector.messages.answer import Answer, failure_of
from scopeway.control_plane.collector.messages.links import next_link
from scopeway.control_plane.collector.messages.report import REPORT, Failure, report_for
from scopeway.control_plane.collector.messages.request import FanoutRequest, Header, Refused
from scopeway.control_plane.collector.messages.service_lists import ServiceList
from scopeway.control_plane.collector.sub_requests.fan_out import FanOut

MAX_PAGE: Final = 1000
"""Items of a page where the service has no limit of its own."""
PIECE: Final = 64 << 10
"""Bytes that are written at a time."""

RENAMED: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        "compute": {
            "created_at": "created",
            "display_name": "name",
            "flavorid": "id",
            "updated_at": "updated",
            "uuid": "id",
        },
        "block-storage": {"display_name": "name"},
        "orchestration": {
            "created_at": "creation_time",
            "name": "stack_name",
            "status": "stack_status",
            "updated_at": "updated_time",
        },
    }
)
"""Sort keys that have other names in the items of a service."""

_TRUE: Final = frozenset(("true", "1", "yes", "on", "t", "y"))
"""What Swift takes for true."""


async def sorted_page(
    request: FanoutRequest, clouds: FanOut, out: Writer, wanted: ServiceList, cursors: Cursors
) -> None:
    """Answer the request for a list with one page of all clouds.

    Raises:
        Refused: Its limit, order or marker cannot be used.
    """
    request.drop_conditions()
    by_name = wanted.next == "name"
    parameters = request.parameters()
    builder = PageBuilder(
        _order(request, wanted, parameters),
        request.members,
        _positions(request, wanted, parameters, cursors),
        _limit(wanted, parameters),
        replicas=wanted.replicas,
    )
    report = report_for(request)
    if request.require_all and report.failed:
        refuse(out, request, report)
        return
    location = _locations(request)
    kept = failed = 0
    while questions := builder.questions():
        asked = [each.cloud for each in questions]
        locations = {each.cloud: location(each) for each in questions}
        async for answer in clouds.each(asked, locations=locations):
            failure = _add(builder, answer, wanted)
            if failure is not None:
                failed += 1
                report.fail(failure)
                if request.require_all:
                    refuse(out, request, report)
                    return
            if builder.held > kept:
                clouds.keep(builder.held - kept)
                kept = builder.held
    report.answered = len(request.members) - failed
    if report.failed and not report.answered:
        refuse(out, request, report)
        return
    page = builder.page()
    link = b""
    if not by_name:
        marker = pack_marker(page.positions, request.members)
        if page.more:
            link = next_link(request, wanted, marker)
        if page.items:
            cursors.remember(request, page.items[-1][1].id, marker)
    headers: list[Header] = [(b"content-type", JSON), (REPORT_HEADER, report.header(names=by_name))]
    out.begin(200, headers)
    for piece in _pieces(page, wanted.key, link, report.json()):
        out.write(piece)
        await out.drain()
    out.end()


def _add(builder: PageBuilder, answer: Answer, wanted: ServiceList) -> Failure | None:
    """Add what a cloud answered; return why it could not be added."""
    failure = None
    if answer.cause or answer.status >= 400:
        failure = failure_of(answer)
    elif answer.status >= 300:
        reason = f"a redirect ({answer.status}) instead of a list"
        failure = Failure(answer.cloud, answer.status, "malformed", reason)
    else:
        try:
            found = read_page(answer.body, wanted)
            more = None if wanted.next in ("name", "") else found.next_marker is not None
            builder.add(answer.cloud, found, more)
        except Malformed as error:
            failure = Failure(answer.cloud, 502, "malformed", str(error))
    if failure is not None:
        builder.fail(answer.cloud)
    return failure


def _pieces(page: SortedPage, key: str, link: bytes, report: bytes) -> Iterator[bytes]:
    """Yield the body: an object, or an array where the list is the whole body."""
    piece = bytearray(f'{{"{key}": ['.encode() if key else b"[")
    for number, (names, item) in enumerate(page.items):
        piece += b", " if number else b""
        piece += cloud_field(",".join(names)) + item.tail
        if len(piece) > PIECE:
            yield bytes(piece)
            piece.clear()
    piece += b"]"
    if key:
        piece += (b", " + link if link else b"") + f', "{REPORT}": '.encode() + report + b"}"
    yield bytes(piece)


def _order(
    request: FanoutRequest, wanted: ServiceList, parameters: Sequence[tuple[str, str]]
) -> SortOrder:
    if wanted.next == "name":
        # an entry of a container is an object, or a common prefix of several
        reverse = dict(parameters).get("reverse", "").lower() in _TRUE
        return SortOrder((), (wanted.id, "subdir"), descends=reverse)
    return sort_order(
        parameters,
        wanted.sort,
        descends=wanted.sort[0][1],
        renamed=RENAMED.get(request.service),
        id_fields=(wanted.id,),
    )


def _limit(wanted: ServiceList, parameters: Sequence[tuple[str, str]]) -> int:
    """Return the items of a page: those that the client asks for, up to the service's own limit."""
    most = wanted.page or MAX_PAGE
    text = dict(parameters).get("limit", "")
    if not text:
        return most
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise Refused(400, f"limit is a number of items, not {text[:20]!r}")
    return min(int(text), most) or most


def _positions(
    request: FanoutRequest,
    wanted: ServiceList,
    parameters: Sequence[tuple[str, str]],
    cursors: Cursors,
) -> Mapping[str, str | None]:
    """Return where each cloud goes on."""
    marker = dict(parameters).get("marker", "")
    if wanted.next == "name":
        return dict.fromkeys(request.members, marker) if marker else {}
    refuse_too_many(request.members)
    if marker and not is_composite(marker):
        found = cursors.find(request, marker)
        if found is None:
            raise InvalidMarker(
                f"the collector does not know the page behind {marker[:64]!r} (any more): begin "
                "anew, and follow the next links"
            )
        marker = found
    return read_marker(marker, request.members) if marker else {}


def _locations(request: FanoutRequest) -> Callable[[Question], str]:
    """Return what makes the path and the query by which a cloud is asked."""
    kept = [
        each
        for each in request.query.split("&")
        if each and unquote_plus(each.partition("=")[0]) not in ("limit", "marker")
    ]
    begin = f"{request.path}?{''.join(each + '&' for each in kept)}limit="

    def location(question: Question) -> str:
        marker = question.marker
        return f"{begin}{question.limit}" + (f"&marker={quote(marker, safe='')}" if marker else "")

    return location
