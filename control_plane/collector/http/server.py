"""HTTP/1.1 on `collector.sock`: what Envoy sends, and the answers.

One request at a time on a connection. Reading goes on while a request is answered, as that is how
a client that leaves is noticed.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, cast

import httptools

from scopeway.control_plane.collector.http.client import peer_user
from scopeway.control_plane.collector.http.exchange import Source
from scopeway.control_plane.collector.limits import Limits
from scopeway.control_plane.collector.messages.report import error_body, title_of
from scopeway.control_plane.collector.messages.request import Header, Refused, address_in
from scopeway.control_plane.collector.messages.ways import MAX_BODY, UPLOAD

_log = logging.getLogger(__name__)

MAX_HEADERS: Final = 300
"""Headers of a request: 200 of the client, and those of Envoy."""
HIGH: Final = 256 << 10
"""Bytes of an answer that Envoy has not taken, above which its clouds are not read."""
LOW: Final = 64 << 10

JSON: Final = b"application/json"
REPORT_HEADER: Final = b"x-scopeway-report"


class Writer:
    """The answer to one request."""

    def __init__(self, connection: "ServerConnection", method: str) -> None:
        self.source: Source | None = None
        """What to hold while too much was written."""
        self.begun = False
        """Whether a status has been sent: the answer can only go on, or break off."""
        self.finished = False
        self.status = 0
        self._connection = connection
        self._head_only = method == "HEAD"
        self._chunked = False

    def begin(self, status: int, headers: list[Header], *, length: int | None = None) -> None:
        """Send the head of an answer.

        Args:
            status: The status.
            headers: All but the length and Transfer-Encoding.
            length: Bytes of the body; None: as many as will be written.
        """
        self.begun = True
        self.status = status
        bodiless = status in (204, 304) or self._head_only
        self._chunked = length is None and not bodiless
        lines = [b"HTTP/1.1 %d %b" % (status, title_of(status).encode())]
        lines += (name + b": " + value for name, value in headers)
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        elif length is not None and status != 204:
            lines.append(b"content-length: %d" % length)
        self._connection.write(b"\r\n".join(lines) + b"\r\n\r\n")

    def write(self, data: bytes) -> None:
        """Send a piece of the body. `drain`, or a `source`, keeps the pieces from piling up."""
        if data and not self._head_only:
            if self._chunked:
                self._connection.write(b"%x\r\n" % len(data), data, b"\r\n")
            else:
                self._connection.write(data)

    async def drain(self) -> None:
        """Wait until the client has taken most of what was written."""
        await self._connection.drain()

    def end(self) -> None:
        """End the answer."""
        if self._chunked:
            self._connection.write(b"0\r\n\r\n")
        self.finished = True

    def whole(self, status: int, headers: list[Header], body: bytes) -> None:
        """Send a whole answer."""
        self.begin(status, headers, length=len(body))
        self.write(body)
        self.end()

    def error(self, status: int, body: bytes, report: bytes = b"") -> None:
        """Send an error of the collector; an answer that has begun breaks off instead."""
        if self.begun:
            self.abort()
            return
        headers = [(b"content-type", JSON), (b"x-scopeway-rejected", b"true")]
        if report:
            headers.append((REPORT_HEADER, report))
        if status in (429, 503):
            headers.append((b"retry-after", b"1"))
        self.whole(status, headers, body)

    def abort(self) -> None:
        """Break off: the client gets no whole answer, and can tell."""
        self.finished = True
        self._connection.abort()


Serve = Callable[[str, bytes, list[Header], bytes, Writer], Awaitable[None]]
"""Answers a request: method, URL, headers, body."""
Bodies = Callable[[int, str], bool]
"""Takes how many more bytes of bodies there are, and the client's address; returns whether there is
room."""


class ServerConnection(asyncio.Protocol):
    """One connection of Envoy."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._limits = server.limits
        self._transport: asyncio.Transport | None = None
        self._task: asyncio.Task[None] | None = None
        self._paused: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._writer: Writer | None = None
        self._reserved = 0
        self._new_request()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection of Envoy, and refuse those of others."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=HIGH, low=LOW)
        user = peer_user(self._transport.get_extra_info("socket"))
        if user not in self._server.users:
            _log.warning(
                "refused a connection of user %(uid)s: if Envoy runs as this user, start the "
                "collector with --envoy-user %(uid)s",
                {"uid": user},
                extra={"uid": user},
            )
            self.abort()
        elif not self._server.add(self):
            self.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the request under way: its client has left."""
        self._server.discard(self)
        self._server.end_body(self)
        self._stop_timer()
        self._give_back()
        if self._task is not None:
            self._task.cancel()
        if self._paused is not None and not self._paused.done():
            self._paused.cancel()

    def data_received(self, data: bytes) -> None:
        """Read a request."""
        if self._task is not None:  # a request behind a request: Envoy sends none
            self.abort()
            return
        if not self._received and self._server.limits.body_seconds:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(self._limits.body_seconds, self._too_slow)
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # refused in `on_message_complete`
        except httptools.HttpParserError as error:
            self._refuse(400, f"this is no HTTP/1.1: {str(error)[:100]}")
        else:
            if self._in_head and self._received > self._limits.request_head:
                self._refuse(431, "the headers are too long")

    def pause_writing(self) -> None:
        """Note that Envoy does not take more now."""
        loop = asyncio.get_running_loop()
        self._paused = loop.create_future()
        self._timer = loop.call_later(self._limits.stalled_seconds, self._stalled)
        if self._writer is not None and self._writer.source is not None:
            self._writer.source.hold()

    def resume_writing(self) -> None:
        """Note that Envoy takes more."""
        self._stop_timer()
        paused, self._paused = self._paused, None
        if paused is not None and not paused.done():
            paused.set_result(None)
        if self._writer is not None and self._writer.source is not None:
            self._writer.source.go_on()

    # ---- httptools

    def on_url(self, url: bytes) -> None:
        """Take a part of the URL."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._in_head:
            self._headers.append((name, value))
            if len(self._headers) > MAX_HEADERS:
                self._refuse(431, f"more than {MAX_HEADERS} headers")

    def on_headers_complete(self) -> None:
        """Make room for the body."""
        self._in_head = False
        if self._task is not None:
            return
        found: dict[bytes, bytes] = {}
        for name, value in self._headers:
            found.setdefault(name.lower(), value)
        length = found.get(b"content-length", b"0" if b"transfer-encoding" not in found else b"")
        if length == b"0":
            return
        self._address = address_in(found.get(b"x-forwarded-for", b""))
        if not self._server.begin_body(self, self._address):
            self._refuse(429, "too many requests of this client are on their way here")
        elif length.isdigit():
            self._reserve(int(length))

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        if self._task is not None:
            return
        if len(self._body) + len(body) > self._reserved:
            self._reserve(len(self._body) + len(body))
        if self._task is None:
            self._body += body

    def on_message_complete(self) -> None:
        """Answer the request."""
        if self._parser.should_upgrade():
            self._refuse(501, "Upgrade and CONNECT take one cloud")
        elif self._task is None:
            method = self._parser.get_method().decode("latin-1")
            self._start(method, self._server.serve)

    # ---- for the writer

    def write(self, *data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None:
            self._transport.writelines(data)

    async def drain(self) -> None:
        """Wait until the transport takes more."""
        if self._paused is not None:
            await self._paused

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def close_when_idle(self) -> None:
        """Close it now, or after the request that is under way."""
        self._closing = True
        if self._task is None and self._transport is not None:
            self._transport.close()

    # ----

    def _new_request(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._headers: list[Header] = []
        self._body = bytearray()
        self._in_head = True
        self._received = 0
        self._closing = False
        self._address = ""

    def _reserve(self, size: int) -> None:
        """Make room for a body."""
        if size > MAX_BODY:
            self._refuse(413, UPLOAD)
        elif not self._server.bodies(size - self._reserved, self._address):
            self._refuse(429, "the collector has no memory left for a body just now")
        else:
            self._reserved = size

    def _give_back(self) -> None:
        self._server.bodies(-self._reserved, self._address)
        self._reserved = 0

    def _refuse(self, status: int, message: str) -> None:
        """Answer without having read all of the request, and close."""
        if self._task is not None:
            return

        async def refuse(
            method: str, url: bytes, headers: list[Header], body: bytes, out: Writer
        ) -> None:
            raise Refused(status, message)

        self._closing = True
        self._start("GET", refuse)

    def _too_slow(self) -> None:
        self._timer = None
        self._refuse(408, "the rest of the request did not come in time")

    def _stalled(self) -> None:
        self._timer = None
        _log.info("a client takes nothing of its answer; its connection is closed")
        self.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, method: str, serve: Serve) -> None:
        self._stop_timer()
        self._server.end_body(self)
        self._writer = Writer(self, method)
        self._task = asyncio.get_running_loop().create_task(self._run(method, serve, self._writer))

    async def _run(self, method: str, serve: Serve, out: Writer) -> None:
        try:
            await serve(method, self._url, self._headers, bytes(self._body), out)
        except Refused as error:
            out.error(error.status, error_body(error.status, str(error)))
        except Exception:
            _log.exception("a request failed")
            out.error(500, error_body(500, "the collector failed; its log says why"))
        finally:
            self._writer = None
            self._give_back()
        if not out.finished:
            out.abort()
        if self._closing and self._transport is not None:
            self._transport.close()
        self._task = None
        self._new_request()


class Server:
    """Listens on a unix socket until it is closed."""

    def __init__(
        self, serve: Serve, *, limits: Limits, users: frozenset[int], bodies: Bodies
    ) -> None:
        """Make a server.

        Args:
            serve: Answers each request.
            limits: Of connections and requests.
            users: Whose processes may connect.
            bodies: Counts the bytes of bodies.
        """
        self.serve = serve
        self.limits = limits
        self.users = users
        self.bodies = bodies
        self._connections: set[ServerConnection] = set()
        self._arriving: dict[ServerConnection, str] = {}
        """Whose body is on its way, and the address of its client."""
        self._empty = asyncio.Event()
        self._empty.set()
        self._server: asyncio.Server | None = None

    async def listen(self, listening: socket.socket) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(
            lambda: ServerConnection(self), sock=listening, backlog=self.limits.connections
        )

    def add(self, connection: ServerConnection) -> bool:
        """Take a connection; return False where there are too many."""
        if len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        self._empty.clear()
        return True

    def discard(self, connection: ServerConnection) -> None:
        """Forget a connection."""
        self._connections.discard(connection)
        if not self._connections:
            self._empty.set()

    def begin_body(self, connection: ServerConnection, address: str) -> bool:
        """Note that a body is on its way; return False if too many of this client are.

        Such a request is not admitted yet, and holds a connection.
        """
        same = sum(each == address for each in self._arriving.values())
        if address and same >= self.limits.requests_of_address:
            return False
        self._arriving[connection] = address
        return True

    def end_body(self, connection: ServerConnection) -> None:
        """Note that a body has come, or never will; harmless where there is none."""
        self._arriving.pop(connection, None)

    async def close(self, seconds: float) -> None:
        """Accept no more; let requests under way end within so many seconds."""
        if self._server is not None:
            self._server.close()
        for each in list(self._connections):
            each.close_when_idle()
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._empty.wait()
        for each in list(self._connections):
            each.abort()
