"""One sub-request and its answer.

An exchange is called back, not awaited: there is no task for each cloud. Its answer is either
collected, up to a limit, or its body is relayed to the client piece by piece.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from scopeway.control_plane.collector.http.byte_budget import Account, ByteBudget
from scopeway.control_plane.collector.messages.answer import Answer

OWN_ENVOY: Final = "the site's own Envoy"

_HELD, _NO_BUDGET = 1, 2


class Carrier(Protocol):
    """The connection of an exchange."""

    def send(self, exchange: "Exchange") -> None:
        """Send the request and read its answer."""
        ...

    def pause(self) -> None:
        """Stop reading."""
        ...

    def resume(self) -> None:
        """Go on reading."""
        ...


class Sender(Protocol):
    """What finds connections for exchanges: `client.Client`."""

    loop: asyncio.AbstractEventLoop
    budget: ByteBudget
    cancelled: int

    def start(self, exchange: "Exchange", *, reuse: bool = True) -> None:
        """Send an exchange."""
        ...

    def end(self, exchange: "Exchange", carrier: Carrier | None, *, reusable: bool) -> None:
        """Take back the connection of an exchange that has ended, or find none for it."""
        ...


class Source(Protocol):
    """Where a body comes from that is passed on."""

    def hold(self) -> None:
        """Read no more for now."""
        ...

    def go_on(self) -> None:
        """Read on."""
        ...


class Sink(Protocol):
    """Takes a body piece by piece."""

    source: Source | None
    """What to hold while too much was written."""

    def write(self, data: bytes) -> None:
        """Take a piece."""
        ...


class Exchange:
    """One sub-request and its answer."""

    __slots__ = (
        "_client",
        "_connection",
        "_left",
        "_limit",
        "_on_done",
        "_on_head",
        "_reused",
        "_sink",
        "_started",
        "_stopped",
        "_timer",
        "account",
        "answer",
        "complete",
        "data",
        "fresh",
        "head_only",
        "held",
    )

    def __init__(
        self,
        client: Sender,
        cloud: str,
        data: Sequence[bytes],
        account: Account,
        *,
        head_only: bool,
        limit: int,
        seconds: float | None,
        fresh: bool,
        on_done: Callable[["Exchange"], None],
        on_head: Callable[["Exchange"], None] | None = None,
    ) -> None:
        """Prepare a sub-request.

        Args:
            client: Sends it.
            cloud: Its cloud.
            data: Its bytes.
            account: What its request holds.
            head_only: Whether the answer has no body (HEAD).
            limit: Bytes of the body.
            seconds: Until all of the answer has come, without the time in which it is not read;
                None: no limit.
            fresh: Whether it needs a connection of its own, which no other request had: a write
                must not meet the end of an idle connection.
            on_done: Called once, when the answer is complete or failed.
            on_head: Called when its head has come; reading pauses then.
        """
        self.answer = Answer(cloud)
        self.data = data
        self.account = account
        self.held = 0
        self.head_only = head_only
        self.fresh = fresh
        self.complete = False
        self._client = client
        self._connection: Carrier | None = None
        self._limit = limit
        self._left = seconds
        self._timer: asyncio.TimerHandle | None = None
        self._started = 0.0
        self._on_done = on_done
        self._on_head = on_head
        self._stopped = 0
        """Why nothing is read: bits of _HELD and _NO_BUDGET."""
        self._sink: Sink | None = None
        self._reused = False

    # ---- for the one who asks

    @classmethod
    def unsent(cls, client: Sender, cloud: str, account: Account) -> "Exchange":
        """Return one that is complete without having been sent."""
        made = cls(
            client, cloud, (), account,
            head_only=False, limit=0, seconds=None, fresh=False, on_done=lambda _: None,
        )  # fmt: skip
        made.complete = True
        return made

    def relay(self, sink: Sink) -> None:
        """Pass the body on after `on_head`: unlimited, untimed, and not counted."""
        self._sink = sink
        came = bytes(self.answer.body)  # with the head
        self.release()
        if not self.complete:
            self._stop_timer()
            self._left = None
            self._stopped = _HELD
            self.go_on()
        if came:  # last, as the sink may hold at once
            sink.write(came)

    def reset(self) -> None:
        """End it, unless it is complete; `on_done` is not called."""
        if not self.complete:
            self.complete = True
            self._client.cancelled += 1
            self._end(reusable=False)
        self.release()

    def fail(self, status: int, cause: str, reason: str) -> None:
        """End it with a failure."""
        if not self.complete:
            self.complete = True
            self.answer.fail(status, cause, reason)
            self._end(reusable=False)
            self.release()
            self._on_done(self)

    def release(self) -> None:
        """Give back the bytes of its answer."""
        self.answer.body = bytearray()  # whoever still holds the answer holds no bytes
        self._client.budget.release(self)

    def hold(self) -> None:
        """Read no more, as nobody takes the body now; the clock of the cloud stops."""
        self._stop(_HELD)

    def go_on(self) -> None:
        """Read on after `hold`, unless the budget is used up."""
        self._go_on(_HELD)

    def pause(self) -> None:
        """Read no more, as the budget is used up; the clock of the cloud stops."""
        self._stop(_NO_BUDGET)

    def resume(self) -> None:
        """Read on after `pause`, unless it is held."""
        self._go_on(_NO_BUDGET)

    def _stop(self, why: int) -> None:
        if not self._stopped and not self.complete:
            self._stop_timer()
            if self._connection is not None:
                self._connection.pause()
        self._stopped |= why

    def _go_on(self, why: int) -> None:
        before, self._stopped = self._stopped, self._stopped & ~why
        if before and not self._stopped and not self.complete:
            self.start_timer()
            if self._connection is not None:
                self._connection.resume()

    # ---- for the connection

    def attach(self, connection: Carrier, reused: bool) -> None:
        """Send it over a connection."""
        self._connection = connection
        self._reused = reused
        connection.send(self)
        self._client.budget.begin(self)
        if self._stopped:
            connection.pause()

    def start_timer(self) -> None:
        """Start the clock of the cloud."""
        if self._left is not None:
            loop = self._client.loop
            self._started = loop.time()
            self._timer = loop.call_later(self._left, self._expire)

    def on_head(self) -> None:
        """Take the end of the head."""
        if self._on_head is not None and not self.head_only:
            self.hold()
            self._on_head(self)

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.complete:
            return
        if self._sink is not None:
            self._sink.write(data)
            return
        body = self.answer.body
        # while it is held there is no limit but that of what came with the head
        if len(body) + len(data) > self._limit and not self._stopped & _HELD:
            self.fail(502, "too-large", f"its answer has more than {self._limit} bytes")
            return
        body += data
        self._client.budget.add(self, len(data))

    def finish(self, *, reusable: bool) -> None:
        """Take the end of the answer."""
        if not self.complete:
            self.complete = True
            self._end(reusable=reusable)
            self._client.budget.complete(self)
            self._on_done(self)

    def lost(self, reason: str, *, began: bool) -> None:
        """Take the end of the connection before the end of the answer."""
        if self.complete:
            return
        self._connection = None
        if self._reused and not began and not self.fresh:
            # Envoy closed an idle connection while this was on its way: nothing has read it
            self._stop_timer()
            self._client.start(self, reuse=False)
            return
        self.fail(502, "error", f"{OWN_ENVOY} broke off its answer: {reason}")

    def _end(self, *, reusable: bool) -> None:
        self._stop_timer()
        connection, self._connection = self._connection, None
        self._client.end(self, connection, reusable=reusable)

    def _expire(self) -> None:
        self._timer = None
        self.fail(504, "timeout", "no answer in time")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            assert self._left is not None
            self._left = max(0.0, self._left - (self._client.loop.time() - self._started))
