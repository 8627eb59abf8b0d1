"""Fair sharing of the event loop: work in slices, and a CPU budget for each client.

A client is whatever has one key, such as all streams with one certificate. Its work runs for at
most `SLICE` seconds in one turn of the loop. Of the clients whose work takes longer, one runs in
each turn, round-robin. So a small request waits for a few slices at most, whatever others request.
When a client has used up its budget, the server does not read its requests until it has a budget
again. Other clients are not affected.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Final, TypeVar

from scopeway.xds.grpc_server.connect_rate import ConnectRateLimiter
from scopeway.xds.grpc_server.logging import StreamLog
from scopeway.xds.grpc_server.send_window import SendWindow
from scopeway.xds.grpc_server.token_bucket import TokenBucket
from scopeway.xds.limits import Limits
from scopeway.xds.steps import Steps

_T = TypeVar("_T")

SLICE: Final = 0.003
"""Seconds of work for one client in one turn of the loop. A longer step is not interrupted."""
REQUEST_SECONDS: Final = 0.0001
"""CPU time of gRPC for a request and its response: an estimate, charged for each request."""
BYTE_SECONDS: Final = 1.5e-9
"""The same for each byte of a request: gRPC copies 16 MiB in about 15 ms."""


class ClientBudget:
    """What one client may use: CPU time, new streams, unsent bytes, log lines.

    `ClientBudgets.acquire` makes it.
    """

    __slots__ = (
        "_bucket",
        "_budgets",
        "_queued",
        "_used_this_turn",
        "_waiting",
        "connect_limiter",
        "cpu_seconds",
        "expiry",
        "key",
        "log",
        "send_window",
        "streams",
    )

    def __init__(self, budgets: "ClientBudgets", key: str | None, limits: Limits) -> None:
        self.key = key
        self.streams = 0
        self.log = StreamLog()
        """Logs the events of the client's streams, and limits the lines."""
        self.connect_limiter: ConnectRateLimiter | None = None
        """The limiter of the client's new streams; None if they have no limit of their own."""
        if key is not None and limits.client_connects_per_second is not None:
            self.connect_limiter = ConnectRateLimiter(
                rate=limits.client_connects_per_second,
                burst=limits.client_connects_burst,
                wait=limits.connect_wait,
            )
        self.send_window = SendWindow(limits.unsent_bytes)
        self.expiry: asyncio.TimerHandle | None = None
        self.cpu_seconds = 0.0
        """The CPU time used so far, in seconds."""
        self._budgets = budgets
        self._bucket: TokenBucket | None = None
        if limits.cpu_share is not None:
            self._bucket = TokenBucket(rate=limits.cpu_share, burst=limits.cpu_burst)
        self._used_this_turn = 0.0  # seconds since the client last waited for a turn
        self._waiting: list[asyncio.Future[None]] = []  # few, and an empty deque takes 0.6 kB
        self._queued = False

    async def run(
        self,
        steps: Steps[_T],
        on_yield: Callable[[], None] | None = None,
        on_throttled: Callable[[float], None] | None = None,
    ) -> _T:
        """Do the work, in as many turns of the event loop as it needs.

        Args:
            steps: The work.
            on_yield: Called each time before other work may run in between.
            on_throttled: Called with the seconds that the work must wait, if the client has used up
                its budget.
        """
        if self._waiting or self._used_this_turn >= SLICE or self.overdrawn():
            await self._wait_for_turn(on_throttled)
        while True:
            begin, cpu = perf_counter(), thread_time()
            end = begin + SLICE - self._used_this_turn
            try:
                next(steps)
                while perf_counter() < end:
                    next(steps)
            except StopIteration as done:
                result: _T = done.value
                return result
            finally:
                self._used_this_turn += perf_counter() - begin
                self.charge(thread_time() - cpu)
            if on_yield is not None:
                on_yield()
            await self._wait_for_turn(on_throttled)

    def charge(self, seconds: float) -> None:
        """Subtract CPU time from the budget, in seconds."""
        self.cpu_seconds += seconds
        if self._bucket is not None:
            self._bucket.take(seconds, asyncio.get_running_loop().time())

    def overdrawn(self) -> float:
        """Return the seconds until the client has a budget again; 0 if it has one."""
        if self._bucket is None:
            return 0.0
        return self._bucket.wait_time(0, asyncio.get_running_loop().time())

    def seconds_until_full(self) -> float:
        """Return the seconds until the budget is full. A client without streams is kept so long."""
        now = asyncio.get_running_loop().time()
        cpu = 0.0 if self._bucket is None else self._bucket.seconds_until_full(now)
        return max(
            cpu,
            0.0 if self.connect_limiter is None else self.connect_limiter.seconds_until_full(now),
        )

    async def _wait_for_turn(self, on_throttled: Callable[[float], None] | None) -> None:
        seconds = self.overdrawn()
        if seconds and on_throttled is not None:
            on_throttled(seconds)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if not self._queued:
            self._queued = True
            self._budgets.enqueue(self)
        await turn

    def resume_next(self) -> bool:
        """Resume the first work that waits; return whether more work waits."""
        self._used_this_turn = 0.0
        while self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():  # its stream has ended
                turn.set_result(None)
                break
        self._queued = bool(self._waiting)
        return self._queued


class ClientBudgets:
    """The budgets of the clients of one server."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_key: dict[str, ClientBudget] = {}
        self._ready: deque[ClientBudget] = deque()
        """The clients whose work continues in the next turns, one in each turn."""

    def __len__(self) -> int:
        """Return the number of clients that have a budget."""
        return len(self._by_key)

    def acquire(self, key: str | None) -> ClientBudget:
        """Return the budget of a client for one more stream; None: a budget for it alone."""
        budget = None if key is None else self._by_key.get(key)
        if budget is None:
            budget = ClientBudget(self, key, self._limits)
            if key is not None:
                self._by_key[key] = budget
        budget.streams += 1
        return budget

    def release(self, budget: ClientBudget) -> None:
        """Note that a stream has ended. A client that reconnects soon gets the same budget."""
        budget.streams -= 1
        if not budget.streams and budget.key is not None and budget.expiry is None:
            self._expire(budget, budget.key)

    def enqueue(self, budget: ClientBudget) -> None:
        """Add a client whose work waits for a turn."""
        self._ready.append(budget)
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._run_next)

    def _run_next(self) -> None:
        budget = self._ready[0]
        seconds = budget.overdrawn()
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self.enqueue, budget)
        elif budget.resume_next():
            self._ready.append(budget)
        self._ready.popleft()
        if self._ready:
            asyncio.get_running_loop().call_soon(self._run_next)

    def _expire(self, budget: ClientBudget, key: str) -> None:
        budget.expiry = None
        if budget.streams:
            return
        seconds = budget.seconds_until_full()
        if seconds:
            loop = asyncio.get_running_loop()
            budget.expiry = loop.call_later(seconds, self._expire, budget, key)
        elif self._by_key.get(key) is budget:
            del self._by_key[key]
