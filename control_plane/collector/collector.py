"""Ties the parts together: what answers a request, and what all requests share."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from scopeway.control_plane.collector.handlers.exactly_one import exactly_one
from scopeway.control_plane.collector.handlers.one import one
from scopeway.control_plane.collector.handlers.places import Places
from scopeway.control_plane.collector.handlers.refusals import refuse
from scopeway.control_plane.collector.handlers.sorted_pages import sorted_page
from scopeway.control_plane.collector.handlers.union import union
from scopeway.control_plane.collector.handlers.writes import write
from scopeway.control_plane.collector.http.byte_budget import ByteBudget
from scopeway.control_plane.collector.http.client import Client
from scopeway.control_plane.collector.http.server import Server, Writer
from scopeway.control_plane.collector.http.sockets import COLLECT, Listening
from scopeway.control_plane.collector.limits import Admission, Gate, Limits
from scopeway.control_plane.collector.listing.cursors import Cursors
from scopeway.control_plane.collector.messages.report import report_for
from scopeway.control_plane.collector.messages.request import (
    FanoutRequest,
    Header,
    Refused,
    read_request,
)
from scopeway.control_plane.collector.messages.service_lists import ServiceList
from scopeway.control_plane.collector.messages.ways import Way, way_of
from scopeway.control_plane.collector.stats import Counters, RequestStats, Snapshot
from scopeway.control_plane.collector.sub_requests.fan_out import FanOut
from scopeway.control_plane.errors import ControlPlaneError

DRAIN: Final = 5.0
"""Seconds that requests under way have to end when the collector stops."""


class Collector:
    """Answers requests for several clouds."""

    def __init__(self, client: Client, budget: ByteBudget, limits: Limits) -> None:
        """Serve nothing yet."""
        self.client = client
        self.budget = budget
        self.limits = limits
        self.gate = Gate(limits.all_at_once)
        self.admission = Admission(limits)
        self.counters = Counters()
        self.requests = RequestStats()
        self.places = Places()
        self.cursors = Cursors()
        budget.on_change = self._budget_changed

    async def serve(
        self, method: str, url: bytes, headers: list[Header], body: bytes, out: Writer
    ) -> None:
        """Answer one request.

        Raises:
            Refused: The collector answers it with an error.
        """
        begin = time.monotonic()
        way, status = "refused", 0
        try:
            request = read_request(method, url, headers)
            request.body = body
            leave = self.admission.admit(request.client, request.address)
            try:
                found, wanted = way_of(request)
                way = found.value
                clouds = self._clouds(request)
            except BaseException:
                leave()
                raise
            try:
                await self._answer(found, wanted, request, clouds, out)
            finally:
                # a write goes on without its client, who is to have no more of them for that
                self._close(clouds, request, leave)
            status = out.status
        except Refused as error:
            status = error.status
            raise
        except ControlPlaneError as error:  # a marker or an order that cannot be used
            status = 400
            raise Refused(400, str(error)) from None
        except Exception:
            status = 500
            raise
        finally:
            self.requests.note(way, status, time.monotonic() - begin)

    def snapshot(self) -> Snapshot:
        """Return what the metrics show."""
        counters = self.counters
        return Snapshot(
            requests=self.requests,
            under_way=self.admission.under_way,
            asked=counters.asked,
            answered=counters.answered,
            retried=counters.retried,
            cancelled=self.client.cancelled,
            failed=counters.failed.copy(),
            sub_requests_under_way=self.gate.under_way,
            answer_bytes=counters.bytes,
            held_bytes=self.budget.total,
            held_bytes_max=self.budget.peak,
        )

    def _clouds(self, request: FanoutRequest) -> FanOut:
        return FanOut(
            request,
            client=self.client,
            gate=self.gate,
            budget=self.budget,
            limits=self.limits,
            counters=self.counters,
        )

    def _close(self, clouds: FanOut, request: FanoutRequest, leave: Callable[[], None]) -> None:
        """End a request; what is left of it counts for its client until that has ended, too."""
        size = len(request.body)
        self.budget.reserve(size, request.address, held=True)

        def ended() -> None:
            self.budget.reserve(-size, request.address)
            leave()

        clouds.close(ended)

    async def _answer(
        self,
        way: Way,
        wanted: ServiceList | None,
        request: FanoutRequest,
        clouds: FanOut,
        out: Writer,
    ) -> None:
        if not request.members and way is not Way.WRITE:
            refuse(out, request, report_for(request))
            return
        match way:
            case Way.UNION:
                assert wanted is not None
                await union(request, clouds, out, wanted)
            case Way.ONE:
                await one(request, clouds, out, self.places)
            case Way.SORTED:
                assert wanted is not None
                await sorted_page(request, clouds, out, wanted, self.cursors)
            case Way.EXACTLY_ONE:
                await exactly_one(request, clouds, out)
            case Way.WRITE:
                await write(request, clouds, out)

    def _budget_changed(self, full: bool) -> None:
        self.gate.closed = full
        if not full:
            self.gate.pump()


@asynccontextmanager
async def serving(
    folder: Path, *, limits: Limits, users: frozenset[int], drain: float = DRAIN
) -> AsyncIterator[Collector]:
    """Serve requests while the context lasts.

    Args:
        folder: Of the two sockets.
        limits: What the collector may use.
        users: Uids whose processes may be at the other end of either socket.
        drain: Seconds that requests under way have to end.

    Raises:
        ControlPlaneError: It cannot listen in that folder.
    """
    listening = Listening(folder)
    try:
        budget = ByteBudget(limits)
        client = Client(str(folder / COLLECT), limits, budget, users)
        collector = Collector(client, budget, limits)
        server = Server(collector.serve, limits=limits, users=users, bodies=budget.reserve)
        await server.listen(listening.socket)
        try:
            yield collector
        finally:
            await server.close(drain)
            client.close()
    finally:
        listening.close()
