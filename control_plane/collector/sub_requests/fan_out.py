"""Asks the clouds of one request: many at a time, each once; hands their answers out as they come.

    async for answer in clouds.each(request.members):
        …                               # the body is valid until the next one is taken
    async for head in clouds.heads(request.members):
        …                               # `await head.collect()`, or `await head.relay(out)`

The clock of a request runs only while it waits for clouds: a client that reads slowly uses up its
own time, not theirs.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from scopeway.control_plane.collector.http.byte_budget import Account, ByteBudget
from scopeway.control_plane.collector.http.client import Client
from scopeway.control_plane.collector.http.exchange import Exchange, Source
from scopeway.control_plane.collector.limits import Gate, Limits
from scopeway.control_plane.collector.messages.answer import Answer, cause_of
from scopeway.control_plane.collector.messages.request import FanoutRequest
from scopeway.control_plane.collector.stats import Counters
from scopeway.control_plane.collector.sub_requests.answers import Answers, Heads
from scopeway.control_plane.collector.sub_requests.watch import Watch

_log = logging.getLogger(__name__)

RESERVE: Final = 0.25
"""The most seconds of a request's time that are kept for writing the answer, which takes some
0.1 ms for each cloud."""


def waiting_time(seconds: float) -> float:
    """Return how long a request may wait for clouds, so that its answer is there in `seconds`."""
    return seconds - min(RESERVE, seconds / 20)


@dataclass(slots=True, kw_only=True)
class _Round:
    """What is asked of each cloud."""

    method: str
    locations: Mapping[str, str]
    body: bytes | None
    limit: int
    heads: bool


class _Nobody:
    """Takes the answers to a write whose client has left: they are not held for anybody."""

    source: Source | None = None

    def write(self, data: bytes) -> None:
        """Forget it."""


_NOBODY: Final = _Nobody()


class FanOut:
    """The clouds of one request."""

    def __init__(
        self,
        request: FanoutRequest,
        *,
        client: Client,
        gate: Gate,
        budget: ByteBudget,
        limits: Limits,
        counters: Counters,
    ) -> None:
        """Prepare a fan-out; no cloud is asked yet. `close` ends what is under way."""
        self._request = request
        self._client = client
        self._gate = gate
        self._budget = budget
        self._limits = limits
        self._counters = counters
        self.address = request.address
        self._account = Account(request.client, request.address)
        self._account.needs = self._waits_for_clouds
        self._left = waiting_time(limits.seconds if request.deadline is None else request.deadline)
        self._round: _Round | None = None
        self._pending: deque[str] = deque()
        self._retried: set[str] = set()
        self._under_way: set[Exchange] = set()
        self._ready: deque[Exchange] = deque()
        self._headed: dict[Exchange, asyncio.Future[None] | None] = {}
        """Exchanges whose head was handed out, and who waits for the rest."""
        self._taken: Exchange | None = None
        self._kept: Exchange | None = None
        self._wake: asyncio.Future[None] | None = None
        self._closed = False
        self._ended: Callable[[], None] = lambda: None
        budget.open(self._account)

    # ---- for handlers

    def each(
        self,
        clouds: Iterable[str],
        *,
        locations: Mapping[str, str] | None = None,
        body: bytes | None = None,
        limit: int | None = None,
    ) -> Answers:
        """Ask clouds, and give their whole answers in the order in which they come.

        The body of an answer is valid until the next one is taken. A write has no limit of time,
        and goes on when the client has left.

        Args:
            clouds: Members; each gives one answer, or a failure.
            locations: Path and query of some of them, in place of the request's.
            body: In place of the request's.
            limit: Bytes of an answer; by default those of a page.
        """
        most = self._limits.page if limit is None else limit
        return Answers(self, self._begin(clouds, "", locations, body, most, heads=False))

    def heads(
        self, clouds: Iterable[str], *, method: str = "", locations: Mapping[str, str] | None = None
    ) -> Heads:
        """Ask clouds, and give each answer when its head has come; its body waits.

        Args:
            clouds: Members; each gives one answer, or a failure.
            method: In place of the request's.
            locations: Path and query of some of them, in place of the request's.
        """
        most = self._limits.error
        return Heads(self, self._begin(clouds, method, locations, None, most, heads=True))

    def keep(self, size: int) -> None:
        """Count bytes that the handler keeps until the request ends.

        Raises:
            TooMuchKept: There is no room for them.
        """
        self._budget.keep(self._account, size)

    def end_if_crowded(self, end: Callable[[], None]) -> Watch:
        """Call `end` if a page is not taken within 10 s, and others wait for the room it takes.

        `Watch.stop` ends that, when the page was taken.
        """

        def is_crowded() -> bool:
            return self._budget.others_wait(self._account)

        return Watch(self._client.loop, self._limits.crowded_seconds, is_crowded, end)

    # ---- for the one who made it

    def close(self, ended: Callable[[], None] = lambda: None) -> None:
        """End all that is under way.

        A write goes on, and the log says how it ended.

        Args:
            ended: Called when nothing is under way any more.
        """
        if self._closed:
            return
        self._closed = True
        self._ended = ended
        if self._request.is_read:
            self._drop()
        else:
            self._drop_answers()
            for exchange in list(self._under_way):
                exchange.relay(_NOBODY)
        self._budget.close(self._account)
        self._end_if_idle()

    # ---- for Answers and Heads

    async def next(self) -> Exchange:
        """Return the next exchange of which something has come."""
        self._release_taken()
        if self.wants_more():
            self._gate.enter(self)
        while not self._ready:
            await self._wait()
        self._taken = self._ready.popleft()
        return self._taken

    async def whole(self, exchange: Exchange) -> None:
        """Wait until the rest of an answer has come, whose head was handed out."""
        if not exchange.complete:
            done = self._headed[exchange] = self._client.loop.create_future()
            await done

    def keep_taken(self) -> None:
        """Keep what was handed out last until it is relayed, or until the end."""
        self._kept, self._taken = self._taken, None

    def drop_others(self, exchange: Exchange) -> None:
        """Reset all but one."""
        self._drop(but=exchange)

    # ---- for the gate

    def wants_more(self) -> bool:
        """Return whether it would ask another cloud now."""
        return bool(self._pending) and (
            len(self._under_way) + len(self._ready) < self._limits.at_once
        )

    def start_one(self) -> None:
        """Ask the next cloud."""
        asked = self._round
        assert asked is not None
        request = self._request
        cloud = self._pending.popleft()
        body = request.body if asked.body is None else asked.body
        head = request.encode(
            cloud,
            method=asked.method,
            location=asked.locations.get(cloud, ""),
            body=body,
        )
        exchange = Exchange(
            self._client,
            cloud,
            (head, body) if body else (head,),
            self._account,
            head_only=asked.method == "HEAD",
            limit=asked.limit,
            # the request's own time ends it in `_time_is_over`
            seconds=self._limits.cloud_seconds if request.is_read else None,
            fresh=not request.is_read,
            on_done=self._done,
            on_head=self._head if asked.heads else None,
        )
        self._counters.asked += 1
        self._under_way.add(exchange)
        self._client.start(exchange)
        if self._closed:
            exchange.relay(_NOBODY)

    # ----

    def _begin(
        self,
        clouds: Iterable[str],
        method: str,
        locations: Mapping[str, str] | None,
        body: bytes | None,
        limit: int,
        *,
        heads: bool,
    ) -> int:
        """Begin a round; return of how many clouds."""
        self._drop()
        self._round = _Round(
            method=method or self._request.method,
            locations=locations or {},
            body=body,
            limit=limit,
            heads=heads,
        )
        self._pending.extend(clouds)
        return len(self._pending)

    def _head(self, exchange: Exchange) -> None:
        """Hand out a head; its exchange is paused, and still under way."""
        if exchange.answer.status == 503 and exchange.answer.is_rejected:
            # whether the control plane was late is said in the body
            exchange.go_on()
            return
        self._count(exchange.answer)
        self._headed[exchange] = None
        self._ready.append(exchange)
        self._notify()

    def _done(self, exchange: Exchange) -> None:
        """Take the end of an exchange."""
        self._under_way.discard(exchange)
        answer = exchange.answer
        self._counters.bytes += len(answer.body)
        if self._closed:
            exchange.release()
            _log.info(
                "a write went on without its client: %(cloud)s answered %(status)s",
                {"cloud": answer.cloud, "status": answer.status},
                extra={"cloud": answer.cloud, "status": answer.status},
            )
            self._end_if_idle()
        elif exchange in self._headed:
            waiting = self._headed.pop(exchange)
            if waiting is not None and not waiting.done():
                waiting.set_result(None)
        elif (
            answer.lacks_control_plane
            and self._request.is_read
            and answer.cloud not in self._retried
        ):
            self._retried.add(answer.cloud)
            self._counters.retried += 1
            exchange.release()
            self._pending.appendleft(answer.cloud)
            self._gate.enter(self)
        else:
            self._count(answer)
            self._ready.append(exchange)
            self._notify()
        self._gate.done(self)

    def _count(self, answer: Answer) -> None:
        if answer.ok:
            self._counters.answered += 1
        else:
            self._counters.failed[cause_of(answer)] += 1

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _waits_for_clouds(self) -> bool:
        return self._wake is not None and not self._ready

    async def _wait(self) -> None:
        """Wait until something has come; the clock of the request runs meanwhile."""
        loop = self._client.loop
        self._wake = loop.create_future()
        self._budget.look()  # this request waits for nothing but clouds now
        begin, timer = loop.time(), None
        if self._request.is_read:
            timer = loop.call_later(max(self._left, 0), self._time_is_over)
        try:
            await self._wake
        finally:
            self._wake = None
            if timer is not None:
                timer.cancel()
                self._left -= loop.time() - begin

    def _time_is_over(self) -> None:
        """Fail all clouds that have not answered."""
        pending = list(self._pending)
        self._pending.clear()
        for exchange in list(self._under_way):
            exchange.fail(504, "timeout", "no answer within the time of the request")
        for cloud in pending:
            exchange = Exchange.unsent(self._client, cloud, self._account)
            exchange.answer.fail(504, "not-asked", "not asked: the time of the request was over")
            self._count(exchange.answer)
            self._ready.append(exchange)
        self._notify()

    def _release_taken(self) -> None:
        taken, self._taken = self._taken, None
        if taken is not None and taken.complete:
            taken.release()

    def _drop(self, but: Exchange | None = None) -> None:
        """Reset what is under way, and forget what is pending or was not taken."""
        self._pending.clear()
        self._gate.leave(self)
        for exchange in [each for each in self._under_way if each is not but]:
            self._under_way.discard(exchange)
            self._headed.pop(exchange, None)
            exchange.reset()
            self._gate.done(self)
        self._drop_answers(but)

    def _drop_answers(self, but: Exchange | None = None) -> None:
        for exchange in self._ready:
            if exchange is not but:
                exchange.release()
        self._ready.clear()
        if self._taken is not but:
            self._release_taken()
        if self._kept is not None and self._kept is not but:
            self._kept.release()
            self._kept = None

    def _end_if_idle(self) -> None:
        if not self._under_way and not self._pending:
            self._ended()
