"""What the collector may use: its settings, and the requests and sub-requests under way."""

from collections import Counter, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Final, Protocol

from scopeway.control_plane.collector.messages.request import Refused

MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one collector (docs/limits.md)."""

    requests: int = 64
    """Requests under way."""
    requests_of_token: int = 16
    """Those of one token."""
    requests_of_address: int = 32
    """Those of one client's address."""
    connections: int = 256
    """Connections to `collector.sock`."""
    at_once: int = 128
    """Sub-requests under way for one request."""
    all_at_once: int = 1024
    """Sub-requests under way."""
    idle: int = 256
    """Connections to `collect.sock` that are kept for the next sub-request."""
    cloud_seconds: float = 10.0
    """Until a cloud has answered a read in full."""
    seconds: float = 30.0
    """That a read waits for all of its clouds."""
    stalled_seconds: float = 60.0
    """In which a client takes nothing of its answer."""
    crowded_seconds: float = 10.0
    """In which it takes a page of a cloud, if others wait for the room."""
    body_seconds: float = 30.0
    """Until all of a request has come."""
    page: int = 8 * MIB
    """Bytes of the answer of one cloud."""
    error: int = 64 << 10
    """Bytes of an answer that is no success, and is looked at for its reason."""
    head: int = 64 << 10
    """Bytes of the head of an answer."""
    request_head: int = 256 << 10
    """Bytes of the head of a request: 60 KiB of the client's, twice 48 kB of names."""
    bytes: int = 10 * MIB
    """Bytes of answers that have come and are not passed on yet, one large page besides. One token
    has a quarter, one address a half."""
    kept: int = 6 * MIB
    """Bytes that requests keep: bodies, sorted items, ids, and answers that are held back."""
    kept_of_request: int = 4 * MIB
    """Those of one token, or of one address."""
    bodies: int = 4 * MIB
    """Bytes of bodies of requests, of these."""


class TooMuchKept(Refused):
    """A request needs more memory than it gets."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


def _too_many(what: str) -> Refused:
    return Refused(429, f"{what} are under way at this collector: try again in a second")


class Admission:
    """Counts the requests under way."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._of_token: Counter[Hashable] = Counter()
        self._of_address: Counter[Hashable] = Counter()
        self.under_way = 0

    def admit(self, token: bytes, address: str) -> Callable[[], None]:
        """Count a request until what is returned is called, once.

        Raises:
            Refused: 429, there are too many.
        """
        limits = self._limits
        if self.under_way >= limits.requests:
            raise _too_many(f"{limits.requests} requests for several clouds")
        if self._of_token[token] >= limits.requests_of_token:
            raise _too_many(f"{limits.requests_of_token} requests with this token")
        if address and self._of_address[address] >= limits.requests_of_address:
            raise _too_many(f"{limits.requests_of_address} requests of this client")
        self.under_way += 1
        self._of_token[token] += 1
        self._of_address[address] += 1

        def leave() -> None:
            self.under_way -= 1
            for counter, key in ((self._of_token, token), (self._of_address, address)):
                counter[key] -= 1
                if not counter[key]:
                    del counter[key]

        return leave


class Waiting(Protocol):
    """A request that has clouds to ask."""

    address: str
    """The client's; "" if it is not known."""

    def start_one(self) -> None:
        """Ask one more cloud; `Gate.done` has to be called when that has ended."""
        ...

    def wants_more(self) -> bool:
        """Return whether it would ask another one now."""
        ...


class Gate:
    """Lets sub-requests begin: so many at a time, in rotation among the requests that wait.

    Those of one address are half of them at most: a client that reads slowly leaves the others.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._queue: deque[Waiting] = deque()
        self._queued: set[Waiting] = set()
        self._of_address: Counter[str] = Counter()
        self._pumping = False
        self.closed = False
        """While the byte budget is used up."""
        self.under_way = 0

    def enter(self, waiting: Waiting) -> None:
        """Let a request ask clouds as its turn comes; harmless where it waits already."""
        if waiting not in self._queued:
            self._queued.add(waiting)
            self._queue.append(waiting)
        self.pump()

    def leave(self, waiting: Waiting) -> None:
        """Forget a request that asks no more."""
        if waiting in self._queued:
            self._queued.discard(waiting)
            self._queue.remove(waiting)

    def done(self, waiting: Waiting) -> None:
        """Note the end of a sub-request."""
        self.under_way -= 1
        self._of_address[waiting.address] -= 1
        if not self._of_address[waiting.address]:
            del self._of_address[waiting.address]
        self.pump()

    def pump(self) -> None:
        """Begin what may begin."""
        if self._pumping:  # a sub-request that fails at once ends in here
            return
        self._pumping = True
        try:
            passed_over = 0
            while (
                len(self._queue) > passed_over and self.under_way < self._most and not self.closed
            ):
                waiting = self._queue.popleft()
                address = waiting.address
                if address and self._of_address[address] >= self._most // 2:
                    passed_over += 1
                elif waiting.wants_more():
                    passed_over = 0
                    self.under_way += 1
                    self._of_address[address] += 1
                    waiting.start_one()
                if waiting.wants_more():
                    self._queue.append(waiting)
                else:
                    self._queued.discard(waiting)
        finally:
            self._pumping = False
