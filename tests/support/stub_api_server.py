"""An HTTP server on loopback that answers as a test tells it: an API server gone wrong."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any


class Request:
    """What a client has asked, and how to answer."""

    def __init__(self, head: str, writer: asyncio.StreamWriter) -> None:
        first, *rest = head.split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {
            name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest)
        }
        self.writer = writer

    def answer(self, document: Any, code: int = 200) -> None:
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        head = f"HTTP/1.1 {code} Any\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)

    def begin(self) -> None:
        """Begin an answer in chunks, as for a watch."""
        self.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunk(self, data: bytes) -> None:
        """Send a chunk; an empty one is the end."""
        self.writer.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


Handler = Callable[[Request], Awaitable[None]]


class StubApiServer:
    def __init__(self, port: int, scheme: str) -> None:
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.requests: list[Request] = []

    def kubeconfig(self, file: Path, user: dict[str, Any], **cluster: Any) -> Path:
        document = {
            "clusters": [{"name": "c", "cluster": {"server": self.url} | cluster}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        new = file.with_name(f"{file.name}.new")
        new.write_text(json.dumps(document))
        new.rename(file)
        return file


@asynccontextmanager
async def answering(
    handler: Handler, *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[StubApiServer]:
    """Run a server whose requests a handler answers."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().strip()
                request = Request(head, writer)
                await reader.readexactly(int(request.headers.get("content-length", 0)))
                stub.requests.append(request)
                await handler(request)
                await writer.drain()
        except (EOFError, OSError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    stub = StubApiServer(server.sockets[0].getsockname()[1], "https" if tls else "http")
    try:
        yield stub
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
