"""Who gets how much of the event loop: work in slices, and a budget of CPU time for each client.

Part of the server's shell. A client is whatever has one key: all streams of one certificate, say.
Its work runs at most `SLICE` seconds in one turn of the loop, and of all clients whose work takes
longer than that, one runs in each turn, in rotation. So a small request waits for some slices at
most, whatever others have asked for. A client that has used up its budget waits, unread; nobody
else does.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Final, TypeVar

from scopeway.xds.grpc_server.connect_rate import Door
from scopeway.xds.grpc_server.logging import StreamLog
from scopeway.xds.grpc_server.token_bucket import Bucket
from scopeway.xds.grpc_server.unsent import Unsent
from scopeway.xds.limits import Limits
from scopeway.xds.steps import Steps

_T = TypeVar("_T")

SLICE: Final = 0.003
"""Seconds of work for one client in one turn of the loop; a step that takes longer is not cut."""
REQUEST_SECONDS: Final = 0.0001
"""What gRPC takes for a request and an answer, which isn't measured: counts for each request."""
BYTE_SECONDS: Final = 1.5e-9
"""The same for each byte of a request: 16 MiB are copied in some 15 ms."""


class Account:
    """The account of one client; made by `Accounts.open`."""

    __slots__ = (
        "_accounts",
        "_bucket",
        "_in_turn",
        "_queued",
        "_waiting",
        "door",
        "expiry",
        "key",
        "log",
        "streams",
        "unsent",
        "used",
    )

    def __init__(self, accounts: "Accounts", key: str | None, limits: Limits) -> None:
        self.key = key
        self.streams = 0
        self.log = StreamLog()
        """How often the client's streams are told of in the log."""
        self.door: Door | None = None
        """Where its new streams come in, if they have a limit of their own."""
        if key is not None and limits.client_connects_per_second is not None:
            self.door = Door(
                rate=limits.client_connects_per_second,
                burst=limits.client_connects_burst,
                wait=limits.connect_wait,
            )
        self.unsent = Unsent(limits.unsent_bytes)
        self.expiry: asyncio.TimerHandle | None = None
        self.used = 0.0
        """Seconds of CPU, of all time."""
        self._accounts = accounts
        self._bucket: Bucket | None = None
        if limits.cpu_share is not None:
            self._bucket = Bucket(rate=limits.cpu_share, burst=limits.cpu_burst)
        self._in_turn = 0.0  # seconds since the loop's last turn that was waited for
        self._waiting: list[asyncio.Future[None]] = []  # few, and an empty deque takes 0.6 kB
        self._queued = False

    async def run(
        self,
        steps: Steps[_T],
        between: Callable[[], None] | None = None,
        throttled: Callable[[float], None] | None = None,
    ) -> _T:
        """Take steps until the work is done, in as many turns of the loop as it needs.

        Args:
            steps: The work.
            between: Is called whenever others may run before the work is done.
            throttled: Is told for how many seconds the client's budget is overdrawn, if the work
                has to wait for that.
        """
        if self._waiting or self._in_turn >= SLICE or self.overdrawn():
            await self._turn(throttled)
        while True:
            begin, cpu = perf_counter(), thread_time()
            end = begin + SLICE - self._in_turn
            try:
                next(steps)
                while perf_counter() < end:
                    next(steps)
            except StopIteration as done:
                result: _T = done.value
                return result
            finally:
                self._in_turn += perf_counter() - begin
                self.charge(thread_time() - cpu)
            if between is not None:
                between()
            await self._turn(throttled)

    def charge(self, seconds: float) -> None:
        """Take CPU time from the budget."""
        self.used += seconds
        if self._bucket is not None:
            self._bucket.take(seconds, asyncio.get_running_loop().time())

    def overdrawn(self) -> float:
        """Return the seconds until the client has a budget again; 0: it has."""
        if self._bucket is None:
            return 0.0
        return self._bucket.wait(0, asyncio.get_running_loop().time())

    def seconds_until_full(self) -> float:
        """Return how long it is to be remembered without a stream."""
        now = asyncio.get_running_loop().time()
        cpu = 0.0 if self._bucket is None else self._bucket.until_full(now)
        return max(cpu, 0.0 if self.door is None else self.door.until_full(now))

    async def _turn(self, throttled: Callable[[float], None] | None) -> None:
        seconds = self.overdrawn()
        if seconds and throttled is not None:
            throttled(seconds)
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if not self._queued:
            self._queued = True
            self._accounts.queue(self)
        await turn

    def next_turn(self) -> bool:
        """Let the first that waits go on; return whether others wait."""
        self._in_turn = 0.0
        while self._waiting:
            turn = self._waiting.pop(0)
            if not turn.done():  # its stream has ended
                turn.set_result(None)
                break
        self._queued = bool(self._waiting)
        return self._queued


class Accounts:
    """The accounts of one server's clients."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._by_key: dict[str, Account] = {}
        self._ready: deque[Account] = deque()
        """Whose work goes on in the next turns; one in each."""

    def __len__(self) -> int:
        """Return how many clients are remembered."""
        return len(self._by_key)

    def open(self, key: str | None) -> Account:
        """Return a client's account for one more stream; None: one for that stream alone."""
        account = None if key is None else self._by_key.get(key)
        if account is None:
            account = Account(self, key, self._limits)
            if key is not None:
                self._by_key[key] = account
        account.streams += 1
        return account

    def close(self, account: Account) -> None:
        """A stream has ended; who comes back at once has the same account."""
        account.streams -= 1
        if not account.streams and account.key is not None and account.expiry is None:
            self._expire(account, account.key)

    def queue(self, account: Account) -> None:
        """Some of a client's work waits for its turn."""
        self._ready.append(account)
        if len(self._ready) == 1:
            asyncio.get_running_loop().call_soon(self._tick)

    def _tick(self) -> None:
        account = self._ready[0]
        seconds = account.overdrawn()
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self.queue, account)
        elif account.next_turn():
            self._ready.append(account)
        self._ready.popleft()
        if self._ready:
            asyncio.get_running_loop().call_soon(self._tick)

    def _expire(self, account: Account, key: str) -> None:
        account.expiry = None
        if account.streams:
            return
        seconds = account.seconds_until_full()
        if seconds:
            loop = asyncio.get_running_loop()
            account.expiry = loop.call_later(seconds, self._expire, account, key)
        elif self._by_key.get(key) is account:
            del self._by_key[key]
