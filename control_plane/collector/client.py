"""HTTP/1.1 to the listener `collect` of the own Envoy: one exchange at a time on a connection.

An `Exchange` is one sub-request. It is called back, not awaited: no task for each cloud. Its answer
is either collected, up to a limit, or its body is relayed to the client piece by piece.

Envoy stands between a cloud and this parser. What a cloud sends is bounded here all the same.
"""

import asyncio
import errno
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol, cast

import httptools

from scopeway.control_plane.collector.answer import Answer
from scopeway.control_plane.collector.byte_budget import Account, ByteBudget
from scopeway.control_plane.collector.limits import Limits

MAX_HEADERS: Final = 256
"""Headers of an answer, trailers included."""
MAX_INTERIM: Final = 16
"""Interim answers (1xx) before the final one."""
BACKLOG_SECONDS: Final = 0.005
"""Between two tries to connect while Envoy has not accepted enough of those before."""
OWN_ENVOY: Final = "the site's own Envoy"

_HELD, _NO_BUDGET = 1, 2


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
        client: "Client",
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
        self._connection: _Connection | None = None
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
    def unsent(cls, client: "Client", cloud: str, account: Account) -> "Exchange":
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
        if came:
            sink.write(came)
        if self.complete:
            return
        self._stop_timer()
        self._left = None
        self._stopped = _HELD
        self.go_on()

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

    def attach(self, connection: "_Connection", reused: bool) -> None:
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
        if connection is not None:
            self._client.give_back(connection, reusable=reusable)
        else:
            self._client.forget(self)

    def _expire(self) -> None:
        self._timer = None
        self.fail(504, "timeout", "no answer in time")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            assert self._left is not None
            self._left = max(0.0, self._left - (self._client.loop.time() - self._started))


class _Parsing:
    """Reads the answer of one exchange: what httptools calls back.

    An object for each exchange, so that bytes behind the end of an answer are never those of the
    next exchange on the connection.
    """

    __slots__ = (
        "_connection",
        "_exchange",
        "_head_bytes",
        "_headers",
        "_in_head",
        "_interim",
        "_limits",
        "_parser",
    )

    def __init__(self, exchange: Exchange, connection: "_Connection", limits: Limits) -> None:
        self._exchange: Exchange | None = exchange
        self._connection = connection
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self._head_bytes = self._headers = self._interim = 0
        self._in_head = True

    def feed(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail("malformed", "its answer is an upgrade")
        except httptools.HttpParserError as error:
            self._fail("malformed", f"its answer is no HTTP: {str(error)[:100]}")
        if self._in_head and self._head_bytes > self._limits.head:
            self._fail("too-large", f"its headers have more than {self._limits.head} bytes")

    def lost(self, reason: str) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.lost(reason, began=self._head_bytes > 0)

    # ---- httptools

    def on_message_begin(self) -> None:
        if self._exchange is None or self._exchange.complete:
            self._connection.abort()  # bytes that nobody has asked for

    def on_header(self, name: bytes, value: bytes) -> None:
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        self._headers += 1
        if self._headers > MAX_HEADERS:
            self._fail("too-large", f"its answer has more than {MAX_HEADERS} headers")
        elif self._in_head:  # trailers are dropped
            exchange.answer.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        exchange = self._exchange
        if exchange is None or exchange.complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            exchange.answer.headers.clear()
            return
        self._in_head = False
        exchange.answer.status = status
        exchange.on_head()
        if exchange.head_only:
            # the parser would wait for a body
            exchange.finish(reusable=self._parser.should_keep_alive())

    def on_body(self, body: bytes) -> None:
        if self._exchange is not None:
            self._exchange.on_body(body)

    def on_message_complete(self) -> None:
        exchange = self._exchange
        if exchange is None:
            return
        if self._in_head:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._fail("too-large", f"it sends more than {MAX_INTERIM} interim answers")
            return
        self._exchange = None
        exchange.finish(reusable=self._parser.should_keep_alive())

    def _fail(self, cause: str, reason: str) -> None:
        if self._exchange is not None:
            self._exchange.fail(502, cause, reason)


class _Connection(asyncio.Protocol):
    """One connection to `collect`."""

    def __init__(self, client: "Client") -> None:
        self._client = client
        self._transport: asyncio.Transport | None = None
        self._parsing: _Parsing | None = None
        self._paused = False
        self.closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        self.closed = True
        self._client.lost(self)
        parsing, self._parsing = self._parsing, None
        if parsing is not None:
            parsing.lost(str(error) if error else "the connection was closed")

    def data_received(self, data: bytes) -> None:
        if self._parsing is None:  # nobody has asked for anything
            self.abort()
        else:
            self._parsing.feed(data)

    def send(self, exchange: Exchange) -> None:
        """Send a request and read its answer."""
        assert self._transport is not None
        self._parsing = _Parsing(exchange, self, self._client.limits)
        self._transport.writelines(exchange.data)

    def pause(self) -> None:
        """Stop reading."""
        if not self._paused and not self.closed and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Go on reading."""
        if self._paused and not self.closed and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def detach(self) -> None:
        """Forget the exchange: it is complete."""
        self._parsing = None

    def abort(self) -> None:
        """Close at once, which resets the sub-request."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()


class Client:
    """Sends exchanges, and keeps connections for the next ones."""

    def __init__(
        self, path: str, limits: Limits, budget: ByteBudget, users: frozenset[int]
    ) -> None:
        """Connect to nobody yet.

        Args:
            path: The socket of the listener `collect`.
            limits: How many connections are kept, and how large an answer is.
            budget: Of all answers.
            users: Whose process may be behind the socket: it gets the tokens.
        """
        self.limits = limits
        self.budget = budget
        self.loop = asyncio.get_running_loop()
        self.opened = self.cancelled = 0
        """Connections ever opened; exchanges reset."""
        self._path = path
        self._users = users
        self._idle: list[_Connection] = []
        self._connecting: dict[Exchange, asyncio.Task[None]] = {}

    @property
    def idle(self) -> int:
        """Connections that are kept."""
        return len(self._idle)

    def start(self, exchange: Exchange, *, reuse: bool = True) -> None:
        """Send an exchange."""
        exchange.start_timer()
        while reuse and not exchange.fresh and self._idle:
            connection = self._idle.pop()
            if not connection.closed:
                exchange.attach(connection, reused=True)
                return
        self._connecting[exchange] = self.loop.create_task(self._connect(exchange))

    def give_back(self, connection: _Connection, *, reusable: bool) -> None:
        """Take a connection whose exchange is complete."""
        connection.detach()
        if reusable and not connection.closed and len(self._idle) < self.limits.idle:
            connection.resume()
            self._idle.append(connection)
        else:
            connection.abort()

    def forget(self, exchange: Exchange) -> None:
        """Connect no more for an exchange that has ended."""
        task = self._connecting.pop(exchange, None)
        if task is not None:
            task.cancel()

    def lost(self, connection: _Connection) -> None:
        """Forget a connection that was closed while it was kept."""
        with suppress(ValueError):
            self._idle.remove(connection)

    def close(self) -> None:
        """Close what is kept."""
        for connection in self._idle:
            connection.abort()
        self._idle.clear()

    async def _connect(self, exchange: Exchange) -> None:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.setblocking(False)
            await self._connect_to_path(made)
            if peer_user(made) not in self._users:
                raise PermissionError(errno.EACCES, "its socket is another user's")
            _, connection = await self.loop.create_unix_connection(
                lambda: _Connection(self), sock=made
            )
        except OSError as error:
            made.close()
            self._connecting.pop(exchange, None)
            reason = os.strerror(error.errno) if error.errno else str(error)
            exchange.fail(503, "unreachable", f"{OWN_ENVOY} cannot be reached: {reason}")
            return
        except asyncio.CancelledError:
            made.close()
            raise
        self._connecting.pop(exchange, None)
        self.opened += 1
        if exchange.complete:
            self.give_back(connection, reusable=True)
        else:
            exchange.attach(connection, reused=False)

    async def _connect_to_path(self, made: socket.socket) -> None:
        """Connect a unix socket, which never waits: where Envoy's backlog is full, ask again."""
        while True:
            try:
                made.connect(self._path)
            except BlockingIOError:
                await asyncio.sleep(BACKLOG_SECONDS)
            else:
                return


def peer_user(connected: socket.socket) -> int:
    """Return the uid of the process at the other end of a unix socket, as the kernel knows it."""
    size = struct.calcsize("3i")
    found = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    return int(struct.unpack("3i", found)[1])
