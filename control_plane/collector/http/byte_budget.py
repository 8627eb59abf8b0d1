"""How many bytes of answers the collector holds: what has come and is not passed on yet.

Where the budget is used up, connections to Envoy are not read, and Envoy in turn does not read
from the clouds. Half-read answers would then wait for each other. So one of them, whose request
waits for nothing else, may always be read to its end: the *favoured* one. Its bytes count apart.

Requests have equal shares of the budget, those of one token a quarter, and those of one address a
half: so clients that read slowly leave the rest to others.
"""

from collections import Counter
from collections.abc import Callable
from itertools import islice
from typing import Final, Protocol

from scopeway.control_plane.collector.limits import Limits, TooMuchKept

_LEAST_SHARES: Final = 2
_MOST_SHARES: Final = 8
_RESUMED: Final = 16
"""Readers that go on at a time: each brings up to 256 kB before it can be paused again."""


class Holder:
    """What all requests of one token, or of one address, hold."""

    __slots__ = ("held", "kept", "most", "requests")

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0
        self.kept = 0
        self.requests = 0


class Account:
    """What one request holds."""

    __slots__ = ("held", "holders", "kept", "needs", "whose")

    def __init__(self, token: bytes = b"", address: str = "") -> None:
        """Hold nothing yet; an empty token or address is that of nobody."""
        self.whose = (token, address)
        self.holders: tuple[Holder, ...] = ()
        self.held = 0
        """Bytes of answers."""
        self.kept = 0
        """Bytes that stay until the request ends."""
        self.needs: Callable[[], bool] = lambda: False
        """Whether the request waits for an answer, and for nothing else."""


class Reader(Protocol):
    """An answer that is being read."""

    account: Account
    held: int
    """Its bytes."""

    def pause(self) -> None:
        """Stop reading."""
        ...

    def resume(self) -> None:
        """Go on."""
        ...


class ByteBudget:
    """The bytes of all answers."""

    def __init__(self, limits: Limits) -> None:
        self._most = limits.bytes
        self._limits = limits
        self._accounts = 0
        self._holders: dict[bytes | str, Holder] = {}
        self._reading: dict[Reader, None] = {}
        """Answers that are under way; the oldest first."""
        self._paused: set[Reader] = set()
        self._favoured: Reader | None = None
        self.held = 0
        """Bytes of answers, but for the favoured one."""
        self.kept = 0
        self._bodies = 0
        self._bodies_of: Counter[str] = Counter()
        self.peak = 0
        """The most bytes there ever were, kept ones included."""
        self.on_change: Callable[[bool], None] = lambda full: None
        """Called with whether the budget is used up, when that changes."""
        self.full = False

    def open(self, account: Account) -> None:
        """Give a request its share."""
        self._accounts += 1
        token, address = account.whose
        account.holders = tuple(
            self._holders.setdefault(key, Holder(self._most // parts))
            for key, parts in ((token, 4), (address, 2))
            if key
        )
        for holder in account.holders:
            holder.requests += 1

    def close(self, account: Account) -> None:
        """Give back the share, and what the request kept."""
        self._accounts -= 1
        self.kept -= account.kept
        for holder in account.holders:
            holder.kept -= account.kept
            holder.requests -= 1
        for key in account.whose:
            if key and not self._holders[key].requests:
                del self._holders[key]
        account.kept = 0

    @property
    def share(self) -> int:
        """Bytes of answers that one request may hold."""
        return self._most // min(max(self._accounts, _LEAST_SHARES), _MOST_SHARES)

    def begin(self, reader: Reader) -> None:
        """Note that an answer is under way; it is not read while the budget is used up."""
        self._reading[reader] = None
        if self.full:
            self._pause(reader)

    def add(self, reader: Reader, size: int) -> None:
        """Count bytes that have come; may pause the reader, and others."""
        account = reader.account
        reader.held += size
        self._hold(account, size)
        if reader is not self._favoured:
            self.held += size
        self.peak = max(self.peak, self.total)
        if self.held >= self._most:
            if not self.full:
                self.full = True
                self.on_change(True)
            for each in self._reading:
                self._pause(each)
        elif self._is_over(account):
            for each in self._reading:
                if self._is_over(each.account):
                    self._pause(each)
        if self._favoured is None and self._paused:
            self._favour()

    @property
    def total(self) -> int:
        """Bytes that are held and kept."""
        return self.held + self.kept + (self._favoured.held if self._favoured else 0)

    def complete(self, reader: Reader) -> None:
        """Note that no more bytes of an answer will come; those that came are still held."""
        self._reading.pop(reader, None)
        self._paused.discard(reader)

    def release(self, reader: Reader) -> None:
        """Give back the bytes of an answer."""
        self.complete(reader)
        self._hold(reader.account, -reader.held)
        if reader is self._favoured:
            self._favoured = None
        else:
            self.held -= reader.held
        reader.held = 0
        self.look()

    def look(self) -> None:
        """Resume what may be read: bytes were given back, or a request began to wait."""
        if self.full and self.held < self._most * 3 // 4:
            self.full = False
            self.on_change(False)
        if not self._paused:
            return
        if not self.full:
            resumed = (
                each
                for each in self._reading
                if each in self._paused and not self._is_over(each.account)
            )
            for each in list(islice(resumed, _RESUMED)):
                self._paused.discard(each)
                each.resume()
        if self._favoured is None:
            self._favour()

    def keep(self, account: Account, size: int) -> None:
        """Count bytes that a request keeps until it ends.

        Raises:
            TooMuchKept: There is no room for them.
        """
        of_client = max((each.kept for each in account.holders), default=account.kept)
        if of_client + size > self._limits.kept_of_request:
            raise TooMuchKept(
                f"the requests of this client need more than {self._limits.kept_of_request} bytes "
                "of memory at the collector: narrow the scope, or ask for fewer items"
            )
        if self.kept + size > self._limits.kept:
            raise TooMuchKept("the collector has no memory left for this request just now")
        account.kept += size
        for holder in account.holders:
            holder.kept += size
        self.kept += size
        self.peak = max(self.peak, self.total)

    def others_wait(self, account: Account) -> bool:
        """Return whether requests of other clients wait for nothing but room."""
        return any(
            each.account.whose != account.whose and each.account.needs() for each in self._paused
        )

    def reserve(self, change: int, address: str = "", *, held: bool = False) -> bool:
        """Count bytes of requests' bodies, or give them back; return whether there is room.

        Args:
            change: Bytes.
            address: The client's; "" if it is not known. It has half of the room at most.
            held: Whether they are in memory already, so that they count in any case.
        """
        own = self._bodies_of[address]
        if (
            change > 0
            and not held
            and (
                self._bodies + change > self._limits.bodies
                or self.kept + change > self._limits.kept
                or (address and own + change > self._limits.bodies // 2)
            )
        ):
            return False
        self._bodies += change
        self._bodies_of[address] = own + change
        if not own + change:
            del self._bodies_of[address]
        self.kept += change
        self.peak = max(self.peak, self.total)
        return True

    def _hold(self, account: Account, size: int) -> None:
        account.held += size
        for holder in account.holders:
            holder.held += size

    def _is_over(self, account: Account) -> bool:
        """Return whether a request, or its client, holds its share."""
        return account.held >= self.share or any(each.held >= each.most for each in account.holders)

    def _pause(self, reader: Reader) -> None:
        if reader is not self._favoured and reader not in self._paused:
            self._paused.add(reader)
            reader.pause()

    def _favour(self) -> None:
        """Let the oldest answer that its request waits for be read to its end."""
        for reader in self._reading:
            if reader in self._paused and reader.account.needs():
                self._favoured = reader
                self.held -= reader.held
                self._paused.discard(reader)
                reader.resume()
                return
