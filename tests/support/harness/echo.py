"""A service that says what it was asked: stands in for an OpenStack service, over HTTP/1.1.

It answers with a JSON object of the request's `method`, `path`, `headers` (pairs, as they came),
`length` and `sha256` of the body, and its own `name`. A request to upgrade becomes a plain echo.
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from harness.background import Background

CHUNK = 1 << 16


@dataclass(slots=True)
class Echo:
    """One service; its fields may be changed while it runs."""

    name: str
    status: int = 200
    headers: Sequence[tuple[str, str]] = ()
    """Added to every answer."""
    raw: bytes | None = None
    """The whole answer, from its status line on, in place of the usual one; empty is none."""
    chunks: Callable[[], AsyncIterator[bytes]] | None = None
    """Makes the body of the answer, in chunks, in place of the usual one; the head goes with the
    first of them."""
    received: int = 0
    """Bytes of bodies that have come so far."""
    requests: int = 0
    """How many have been answered."""
    last: dict[str, Any] = field(default_factory=dict)
    """What was asked last, as the usual answer says it."""
    port: int = 0
    _server: asyncio.Server | None = field(default=None, repr=False)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set, repr=False)

    def start(self, background: Background, port: int = 0) -> "Echo":
        background.run(self._start(port))
        return self

    def stop(self, background: Background) -> None:
        background.run(self._stop())

    async def _start(self, port: int) -> None:
        self._server = await asyncio.start_server(
            # by default a burst of more than 100 connections would wait, and fail in the end
            *(self._serve, "127.0.0.1", port),
            limit=1 << 20,
            backlog=4096,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                while await self._one(reader, writer):
                    pass
            writer.close()
        except asyncio.CancelledError:
            # closed, it would wait for a client to take the rest, on a loop that is about to stop
            writer.transport.abort()
        except Exception:  # a body that breaks off within a chunk, for instance
            writer.transport.abort()
            raise
        finally:
            self._writers.discard(writer)

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, path, _ = first.split(" ", 2)
        headers = [(name.lower(), value.strip()) for name, _, value in map(_split, lines)]
        lookup = dict(headers)
        if lookup.get("upgrade") == "websocket":
            await _upgrade(reader, writer)
            return False
        if lookup.get("expect") == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length, digest = await self._read_body(reader, lookup)
        answer = {"name": self.name, "method": method, "path": path, "headers": headers}
        self.last = {**answer, "length": length, "sha256": digest}
        raw = self.raw  # a test may change it as soon as the answer has come
        if raw is not None:
            self.requests += 1
            writer.write(raw)
            await writer.drain()
            return bool(raw) and b"connection: close" not in raw
        if self.chunks is not None:
            await self._stream(writer, self.chunks())
            return True
        body = json.dumps(self.last).encode()
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers)
        writer.write(
            f"HTTP/1.1 {self.status} Said\r\nserver: echo\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n{extra}\r\n".encode("latin-1")
        )
        self.requests += 1
        if method != "HEAD":
            writer.write(body)
        await writer.drain()
        return True

    async def _stream(self, writer: asyncio.StreamWriter, chunks: AsyncIterator[bytes]) -> None:
        head = f"HTTP/1.1 {self.status} Said\r\ntransfer-encoding: chunked\r\n\r\n".encode()
        async for chunk in chunks:
            writer.write(b"%b%x\r\n%b\r\n" % (head, len(chunk), chunk))
            await writer.drain()
            head = b""
        writer.write(b"0\r\nx-trailer: kept or not\r\n\r\n")
        self.requests += 1
        await writer.drain()

    async def _read_body(
        self, reader: asyncio.StreamReader, headers: dict[str, str]
    ) -> tuple[int, str]:
        digest, length = hashlib.sha256(), 0

        async def take(count: int) -> None:
            nonlocal length
            while count:
                data = await reader.read(min(count, CHUNK))
                if not data:
                    raise ConnectionResetError
                digest.update(data)
                length, count = length + len(data), count - len(data)
                self.received += len(data)

        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline(), 16):
                await take(size)
                await reader.readline()
            await reader.readline()
        else:
            await take(int(headers.get("content-length", 0)))
        return length, digest.hexdigest()


def _split(line: str) -> tuple[str, str, str]:
    return line.partition(":")


async def _upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Go\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n")
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()
