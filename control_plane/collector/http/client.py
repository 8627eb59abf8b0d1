"""HTTP/1.1 to the listener `collect` of the own Envoy: one exchange at a time on a connection.

Envoy stands between a cloud and this parser. What a cloud sends is bounded here all the same.
"""

import asyncio
import errno
import os
import socket
import struct
from contextlib import suppress
from typing import Final, cast

import httptools

from scopeway.control_plane.collector.http.byte_budget import ByteBudget
from scopeway.control_plane.collector.http.exchange import OWN_ENVOY, Carrier, Exchange
from scopeway.control_plane.collector.limits import Limits

MAX_HEADERS: Final = 256
"""Headers of an answer, trailers included."""
MAX_INTERIM: Final = 16
"""Interim answers (1xx) before the final one."""
BACKLOG_SECONDS: Final = 0.005
"""Between two tries to connect while Envoy has not accepted enough of those before."""
_ANOTHER_USER: Final = "it runs as another user than the collector (--envoy-user)"


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
            users: Uids that the process behind the socket may have, because it gets the tokens.
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

    def end(self, exchange: Exchange, carrier: Carrier | None, *, reusable: bool) -> None:
        """Take back the connection of an exchange that has ended, or find none for it."""
        if isinstance(carrier, _Connection):
            self._give_back(carrier, reusable=reusable)
        else:
            self._forget(exchange)

    def _give_back(self, connection: _Connection, *, reusable: bool) -> None:
        """Take a connection whose exchange is complete."""
        connection.detach()
        if reusable and not connection.closed and len(self._idle) < self.limits.idle:
            connection.resume()
            self._idle.append(connection)
        else:
            connection.abort()

    def _forget(self, exchange: Exchange) -> None:
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
                raise PermissionError(errno.EACCES, _ANOTHER_USER)
            _, connection = await self.loop.create_unix_connection(
                lambda: _Connection(self), sock=made
            )
        except OSError as error:
            made.close()
            self._connecting.pop(exchange, None)
            reason = os.strerror(error.errno) if error.errno else str(error)
            if error.strerror == _ANOTHER_USER:
                reason = _ANOTHER_USER
            exchange.fail(503, "unreachable", f"{OWN_ENVOY} cannot be reached: {reason}")
            return
        except asyncio.CancelledError:
            made.close()
            raise
        self._connecting.pop(exchange, None)
        self.opened += 1
        if exchange.complete:
            self._give_back(connection, reusable=True)
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
