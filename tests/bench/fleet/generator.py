"""A process with the streams of many Envoys: `Generator` starts it and tells it what to do.

One loop over all sockets. What is asked for by the bench is a message over a pipe; the answer comes
when all of it has happened. Times are of `time.perf_counter`, which all processes of a machine
share.
"""

import gc
import multiprocessing
import random
import selectors
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from fleet.envoy import CLUSTER, METHOD, Envoy, read
from fleet.http2 import Call, ConnectionLostError

PATIENCE = 120.0
"""Seconds after which a bench is stuck."""

Address = tuple[str, int]


@dataclass(slots=True)
class Totals:
    """What came since the last look."""

    responses: int = 0
    resources: int = 0
    removed: int = 0
    bytes: int = 0
    lost: int = 0
    """Streams that the server ended."""


@dataclass(slots=True)
class _Stream:
    envoy: Envoy
    call: Call | None = None


class Generator:
    """The bench's end: one process of streams."""

    def __init__(self, clouds: Sequence[str], *, seed: int) -> None:
        """Start the process.

        Args:
            clouds: One stream for each, the cloud of its node.
            seed: For what is random.
        """
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(theirs, list(clouds), seed), name="streams", daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process.pid is not None
        return self._process.pid

    def connect(self, addresses: Sequence[Address], *, method: str = METHOD) -> None:
        """Connect every stream, to one address after the other; await that each is complete."""
        self._ask("connect", addresses, method)

    def reconnect(self, addresses: Sequence[Address], extra: Sequence[str]) -> list[float]:
        """Cut all connections, and connect all at once, each with its first use of a target.

        Args:
            addresses: Where to, one after the other.
            extra: The target for each stream; "" for none, and then nothing is waited for.

        Returns:
            The seconds that each stream waited for that.
        """
        return self._ask("reconnect", addresses, extra)

    def disconnect(self) -> None:
        """Cut all connections."""
        self._ask("disconnect")

    def use(self, targets: Sequence[Sequence[str]]) -> None:
        """Let each stream use its targets; await them."""
        self._ask("use", targets)

    def expect(self, name: str, count: int) -> None:
        """Begin to wait until so many streams have taken a cluster; see `expected`."""
        self._ask("expect", name, count)

    def expected(self) -> list[float]:
        """Return when each stream that took the expected cluster had sent its ACK."""
        return self._receive()

    def record(self, first_uses: Sequence[Sequence[str]], interval: float) -> None:
        """Begin to note each cluster that is taken; let a stream use a new target now and then.

        Args:
            first_uses: For each stream, targets that it has not used.
            interval: Seconds between two first uses.
        """
        self._ask("record", first_uses, interval)

    def recorded(self) -> tuple[list[tuple[float, str]], list[float]]:
        """End it; return time and name of all clusters, and the seconds that first uses took."""
        return self._ask("recorded")

    def totals(self) -> Totals:
        """Return what came since the last look."""
        return self._ask("totals")

    def sample(self) -> bytes:
        """Return the bytes of a response that was expected last."""
        return self._ask("sample")

    def close(self) -> None:
        """End the process."""
        self._pipe.close()
        self._process.join(10)
        self._process.kill()

    def _ask(self, what: str, *arguments: Any) -> Any:
        self._pipe.send((what, arguments))
        return self._receive()

    def _receive(self) -> Any:
        if not self._pipe.poll(PATIENCE):
            raise TimeoutError(f"the streams did not get there within {PATIENCE:g} s")
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Streams:
    """The other end: all streams of the process."""

    def __init__(self, pipe: Connection, clouds: Sequence[str], seed: int) -> None:
        self._pipe = pipe
        self._random = random.Random(seed)
        self._streams = [_Stream(Envoy(cloud)) for cloud in clouds]
        self._selector = selectors.EpollSelector()
        self._selector.register(pipe, selectors.EVENT_READ, None)
        self._totals = Totals()
        self._lost = ""
        self._incomplete: set[int] | None = None
        """Streams that are waited for."""
        self._expected, self._missing = "", 0
        self._acked: list[float] = []
        self._sample = b""
        self._recording = False
        self._taken: list[tuple[float, str]] = []
        self._asked: dict[tuple[int, str], float] = {}
        self._waited: list[float] = []
        self._first_uses: deque[tuple[int, str]] = deque()
        self._interval, self._next_use = 0.0, 0.0

    def run(self) -> None:
        """Serve the bench until it closes the pipe."""
        while True:
            timeout = max(self._next_use - time.perf_counter(), 0) if self._first_uses else None
            for key, events in self._selector.select(timeout):
                if key.data is None:
                    try:
                        what, arguments = self._pipe.recv()
                    except EOFError:
                        return
                    getattr(self, f"on_{what}")(*arguments)
                else:
                    self._serve(key.data, events)
            if self._first_uses and time.perf_counter() >= self._next_use:
                self._next_use += self._interval
                self._first_use(*self._first_uses.popleft())

    # what the bench asks for

    def on_connect(self, addresses: Sequence[Address], method: str) -> None:
        bare = method != METHOD  # a server that says nothing by itself
        self._incomplete = None if bare else set(range(len(self._streams)))
        for number, stream in enumerate(self._streams):
            self._open(number, addresses[number % len(addresses)], method)
            requests = stream.envoy.connect()
            self._send(number, *(requests[:1] if bare else requests))
        if bare:
            self._pipe.send(None)

    def on_disconnect(self) -> None:
        for stream in self._streams:
            if stream.call is not None:
                self._selector.unregister(stream.call.socket)
                stream.call.close()
                stream.call = None
        self._pipe.send(None)

    def on_reconnect(self, addresses: Sequence[Address], extra: Sequence[str]) -> None:
        for stream in self._streams:
            if stream.call is not None:
                self._selector.unregister(stream.call.socket)
                stream.call.close()
        start = time.perf_counter()
        self._waited, self._incomplete = [], set(range(len(self._streams)))
        for number, (stream, name) in enumerate(zip(self._streams, extra, strict=True)):
            self._open(number, addresses[number % len(addresses)], METHOD)
            requests = stream.envoy.connect()
            if name:
                self._asked[number, name] = start
                requests.append(stream.envoy.use([name]))
            self._send(number, *requests)
        if not any(extra):
            self._incomplete = None
            self._pipe.send([])

    def on_use(self, targets: Sequence[Sequence[str]]) -> None:
        self._incomplete = set(range(len(self._streams)))
        for number, names in enumerate(targets):
            self._send(number, self._streams[number].envoy.use(names))

    def on_expect(self, name: str, count: int) -> None:
        self._expected, self._missing, self._acked = name, count, []
        self._pipe.send(None)

    def on_record(self, first_uses: Sequence[Sequence[str]], interval: float) -> None:
        pairs = [(number, name) for number, names in enumerate(first_uses) for name in names]
        self._random.shuffle(pairs)
        self._first_uses = deque(pairs)
        self._interval, self._next_use = interval, time.perf_counter() + interval
        self._recording, self._taken, self._waited = True, [], []
        self._pipe.send(None)

    def on_recorded(self) -> None:
        self._recording = False
        self._first_uses.clear()
        self._pipe.send((self._taken, self._waited))

    def on_sample(self) -> None:
        self._pipe.send(self._sample)

    def on_totals(self) -> None:
        totals, self._totals = self._totals, Totals()
        self._pipe.send(totals)

    # what happens on the streams

    def _open(self, number: int, address: Address, method: str) -> None:
        call = Call(address, method)
        self._streams[number].call = call
        self._selector.register(call.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, number)

    def _send(self, number: int, *messages: bytes) -> None:
        call = self._streams[number].call
        assert call is not None
        call.send(*messages)
        if call.wants_to_write:
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(call.socket, both, number)

    def _first_use(self, number: int, name: str) -> None:
        self._asked[number, name] = time.perf_counter()
        self._send(number, self._streams[number].envoy.use([name]))

    def _serve(self, number: int, events: int) -> None:
        stream = self._streams[number]
        call = stream.call
        if call is None:
            return
        try:
            if events & selectors.EVENT_WRITE:
                call.flush()
                if not call.wants_to_write:
                    self._selector.modify(call.socket, selectors.EVENT_READ, number)
            if events & selectors.EVENT_READ:
                before = call.received
                messages = call.receive()
                self._totals.bytes += call.received - before
                for data in messages:
                    self._take(number, stream, data)
        except ConnectionLostError as error:
            self._selector.unregister(call.socket)
            call.close()
            stream.call = None
            self._totals.lost += 1
            self._lost = self._lost or f"{stream.envoy.cloud}: {error}"
            if self._incomplete:
                self._incomplete = None
                self._pipe.send(ConnectionLostError(self._lost))

    def _take(self, number: int, stream: _Stream, data: bytes) -> None:
        response = read(data)
        self._send(number, *stream.envoy.take(response))
        now = time.perf_counter()
        totals = self._totals
        totals.responses += 1
        totals.resources += len(response.versions)
        totals.removed += len(response.removed)
        for name in response.versions if response.type_url == CLUSTER else ():
            asked = self._asked.pop((number, name), None)
            if asked is not None:
                self._waited.append(now - asked)
            elif self._recording:
                self._taken.append((now, name))
            if name == self._expected:
                self._acked.append(now)
                self._sample = data
                self._missing -= 1
                if not self._missing:
                    self._pipe.send(self._acked)
        if self._incomplete and number in self._incomplete and stream.envoy.complete:
            self._incomplete.discard(number)
            if not self._incomplete:
                self._pipe.send(self._waited)


def _run(pipe: Connection, clouds: Sequence[str], seed: int) -> None:
    gc.disable()  # a pause of the clients' would be taken for the server's
    try:
        _Streams(pipe, clouds, seed).run()
    except Exception as error:
        pipe.send(error)
        raise
