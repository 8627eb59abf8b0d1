"""Requests that do not move: clients that take nothing, and a service that does."""

import asyncio
import re
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import StreamReset
from h2.settings import SettingCodes, Settings

from harness.background import Background

BLOCK = bytes(1 << 16)
ENOUGH = 24 << 20
"""Bytes: more than all buffers on the way hold. Envoy reads on what it has given up."""
STREAMS = 100
"""Requests on one connection of HTTP/2."""


class Service:
    """A service whose answer the path chooses.

    `…/endless` has a body without an end, `…/deaf` reads nothing of a request's body and never
    answers, and `…/1000` reads it and answers a thousand bytes.
    """

    def __init__(self, background: Background) -> None:
        self._background = background
        self._open: set[asyncio.StreamWriter] = set()
        background.run(self._start())

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    def close(self) -> None:
        self._background.run(self._stop())

    async def _stop(self) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        ended = (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        with suppress(*ended):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                last = head.split(b" ", 2)[1].rpartition(b"/")[2]
                if last == b"deaf":
                    reader._transport.pause_reading()  # type: ignore[attr-defined]
                    await asyncio.Event().wait()
                found = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
                length = int(found[1]) if found else 0
                for first in range(0, length, len(BLOCK)):
                    await reader.readexactly(min(len(BLOCK), length - first))
                await self._answer(writer, None if last == b"endless" else int(last))
        self._open.discard(writer)
        writer.transport.abort()

    async def _answer(self, writer: asyncio.StreamWriter, size: int | None) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (size or 1 << 40))
        sent = 0
        while size is None or sent < size:
            block = BLOCK if size is None else BLOCK[: size - sent]
            writer.write(block)
            sent += len(block)
            await writer.drain()


class Clients:
    """Clients of a front that take nothing, or send what nobody takes."""

    def __init__(self, front: int, headers: Sequence[tuple[str, str]]) -> None:
        self._front, self._headers = front, headers
        self._closing = ExitStack()

    def __enter__(self) -> "Clients":
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def download(self, path: str, protocol: str, count: int) -> "Clients":
        """Ask for answers, and read nothing of them; `protocol` is `h1` or `h2`."""
        if protocol == "h1":
            for _ in range(count):
                self._connect().sendall(self._head("GET", path))
        while protocol == "h2" and count > 0:
            self._streams("GET", path, min(count, STREAMS))
            count -= STREAMS
        return self

    def upload(self, path: str, protocol: str, count: int) -> "Clients":
        """Send bodies as long as anybody takes some."""
        if protocol == "h1":
            clients = [self._connect() for _ in range(count)]
            for each in clients:
                each.sendall(self._head("PUT", path))
                each.setblocking(False)
            self._fill(clients)
        while protocol == "h2" and count > 0:
            self._streams("PUT", path, min(count, STREAMS))
            count -= STREAMS
        return self

    def _connect(self) -> socket.socket:
        client = self._closing.enter_context(socket.socket())
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0.2)
        client.connect(("127.0.0.1", self._front))
        return client

    def _head(self, method: str, path: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: front.example"]
        lines += [f"{name}: {value}" for name, value in self._headers]
        lines += [f"Content-Length: {1 << 40}"] if method == "PUT" else []
        return "\r\n".join([*lines, "", ""]).encode()

    def _fill(self, clients: Sequence[socket.socket]) -> None:
        """Send until nothing was taken for a while, and from nobody more than `ENOUGH`."""
        left = dict.fromkeys(clients, ENOUGH)
        idle = 0
        while left and idle < 20:
            idle += 1
            for each in list(left):
                with suppress(BlockingIOError):
                    left[each] -= each.send(BLOCK)
                    idle = 0
                if left[each] <= 0:
                    del left[each]
            if idle:
                time.sleep(0.01)

    def _streams(self, method: str, path: str, count: int) -> None:
        client = self._connect()
        h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
        no_window = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
        h2.local_settings = Settings(client=True, initial_values=no_window)
        h2.initiate_connection()
        client.sendall(h2.data_to_send())
        h2.receive_data(client.recv(1 << 16))
        pseudo = [(":method", method), (":scheme", "http"), (":path", path)]
        head = [*pseudo, (":authority", "front.example"), *self._lower()]
        streams = set()
        for _ in range(count):
            stream = h2.get_next_available_stream_id()
            h2.send_headers(stream, head, end_stream=method == "GET")
            streams.add(stream)
        client.sendall(h2.data_to_send())
        while method == "PUT" and (_send_all(h2, client, streams) or _receive(h2, client, streams)):
            pass

    def _lower(self) -> list[tuple[str, str]]:
        return [(name.lower(), value) for name, value in self._headers]


def _send_all(h2: H2Connection, client: socket.socket, streams: set[int]) -> bool:
    """Send a frame of each stream whose window is open; return whether there was any."""
    sent = False
    for stream in streams:
        size = min(h2.local_flow_control_window(stream), h2.max_outbound_frame_size)
        if size > 0:
            h2.send_data(stream, BLOCK[:size])
            sent = True
    client.sendall(h2.data_to_send())
    return sent


def _receive(h2: H2Connection, client: socket.socket, streams: set[int]) -> bool:
    """Return whether anything came before the time-out; forget the streams that were ended."""
    try:
        data = client.recv(1 << 16)
    except TimeoutError:
        return False
    ended = {each.stream_id for each in h2.receive_data(data) if isinstance(each, StreamReset)}
    streams -= ended
    return bool(data)
