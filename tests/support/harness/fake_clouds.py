"""Clouds behind a fake listener `collect`, and a client of a collector, on unix sockets."""

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httptools

TOKEN = "gAAAA-token"


@dataclass
class Received:
    """A sub-request."""

    cloud: str
    method: str
    location: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.location.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.location.partition("?")[2], keep_blank_values=True))


Behaviour = Callable[[Received, asyncio.StreamWriter], Awaitable[None]]
"""Writes an answer; one that returns without having written leaves the request unanswered."""


def answer(
    body: bytes = b"",
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    *,
    chunked: bool = False,
) -> Behaviour:
    """Return the behaviour that answers with this."""

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        lines = [f"HTTP/1.1 {status} Status"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        lines.append("transfer-encoding: chunked" if chunked else f"content-length: {len(body)}")
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        if received.method == "HEAD":
            return
        if not chunked:
            writer.write(body)
            return
        for at in range(0, len(body), 7):
            piece = body[at : at + 7]
            writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        writer.write(b"0\r\n\r\n")

    return behave


def json_answer(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Behaviour:
    """Return the behaviour that answers with JSON."""
    merged = {"content-type": "application/json", **(headers or {})}
    return answer(json.dumps(document).encode(), status, merged)


def images(*ids: str, **fields: Any) -> Behaviour:
    """Return the behaviour that answers with a page of images."""
    return json_answer({"images": [{"id": each} for each in ids], **fields})


def raw(data: bytes, *, close: bool = False) -> Behaviour:
    """Return the behaviour that answers with these bytes."""

    async def behave(received: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        if close:
            await writer.drain()
            writer.close()

    return behave


async def silence(received: Received, writer: asyncio.StreamWriter) -> None:
    """Answer nothing."""
    del received, writer
    await asyncio.Event().wait()


@dataclass
class FakeClouds:
    """All clouds; those without a behaviour answer 404."""

    path: Path
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    received: list[Received] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    connections: int = 0
    _serving: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    def asked(self) -> list[str]:
        """Return the clouds that got a request, in order."""
        return [each.cloud for each in self.received]

    def by_cloud(self) -> dict[str, list[Received]]:
        """Return the sub-requests of each cloud."""
        found: dict[str, list[Received]] = defaultdict(list)
        for each in self.received:
            found[each.cloud].append(each)
        return found

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something is true."""
        while not condition():  # noqa: ASYNC110 - the fakes of both sides have no events
            await asyncio.sleep(0.005)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        try:
            await self._serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            del self._serving[task]

    async def stop(self) -> None:
        """Close all connections, also those whose other side reads nothing."""
        serving = dict(self._serving)
        for task, writer in serving.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # a cancelled task of a stream is an error for asyncio; `stop` cancels it
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while (received := await _read_request(reader)) is not None:
                self.received.append(received)
                self.under_way += 1
                self.most_under_way = max(self.most_under_way, self.under_way)
                behave = self.behaviours.get(received.cloud, answer(b"", 404))
                task = asyncio.ensure_future(behave(received, writer))
                gone = asyncio.ensure_future(_gone(reader))
                try:
                    await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
                    if not task.done():
                        return
                    await task
                    await writer.drain()
                finally:
                    self.under_way -= 1
                    for each in (task, gone):
                        each.cancel()
                        with suppress(asyncio.CancelledError, ConnectionError):
                            await each


async def _gone(reader: asyncio.StreamReader) -> None:
    """Wait until the other side has closed the connection, without taking of what it sends."""
    while not reader.at_eof() and reader.exception() is None:  # noqa: ASYNC110 - as above
        await asyncio.sleep(0.005)


async def _read_request(reader: asyncio.StreamReader) -> Received | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, location, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    cloud = headers["x-scopeway-target"].partition("@")[2]
    return Received(cloud, method, location, headers, body)


@asynccontextmanager
async def fake_clouds(folder: Path) -> AsyncIterator[FakeClouds]:
    """Listen on `collect.sock` of a folder."""
    clouds = FakeClouds(folder / "collect.sock")
    server = await asyncio.start_unix_server(clouds.serve, clouds.path, limit=1 << 20)
    try:
        yield clouds
    finally:
        server.close()
        await clouds.stop()


@dataclass
class Response:
    """What a collector answered."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    whole: bool = False
    """Whether the answer ended as it should."""

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def report(self) -> Any:
        return self.json()["scopeway:report"]


class _Reading:
    def __init__(self, response: Response, method: str) -> None:
        self._response = response
        self._method = method
        self.parser = httptools.HttpResponseParser(self)
        self.done = False
        self.pieces: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self._response.headers[name.decode().lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        self._response.status = self.parser.get_status_code()
        self.done = self._response.whole = self._method == "HEAD"

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.done = self._response.whole = True


def fan_out_headers(
    clouds: Sequence[str], *, service: str = "image", operator: str = "&", missing: str = ""
) -> dict[str, str]:
    """Return the headers that the front's route sets for a fan-out."""
    scope = operator.join(clouds)
    return {
        "host": "front",
        "x-scopeway-target": f"{service}@{scope}",
        "x-scopeway-service": service,
        "x-scopeway-operator": operator,
        "x-scopeway-members": ",".join(clouds),
        "x-scopeway-missing": missing,
        "x-scopeway-lists": "",
        "x-auth-token": f"{TOKEN}~1~*:home;{service}:{scope}",
        "x-forwarded-for": "192.0.2.7",
    }


@dataclass
class CollectorClient:
    """Asks a collector as Envoy does."""

    path: Path

    async def send(
        self,
        url: str,
        headers: Mapping[str, str],
        *,
        method: str = "GET",
        body: bytes | None = None,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send a request over a connection of its own."""
        reader, writer = await asyncio.open_unix_connection(self.path)
        lines = [f"{method} {url} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items())]
        if body is not None:
            lines.append(f"content-length: {len(body)}")
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + (body or b""))
        return reader, writer

    async def receive(self, reader: asyncio.StreamReader, *, method: str = "GET") -> Response:
        """Read an answer to its end, or until it breaks off."""
        response = Response()
        reading = _Reading(response, method)
        with suppress(ConnectionError):
            while not reading.done and (data := await reader.read(1 << 16)):
                reading.parser.feed_data(data)
        response.body = b"".join(reading.pieces)
        return response

    async def ask(
        self,
        url: str,
        clouds: Sequence[str],
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        service: str = "image",
        operator: str = "&",
        missing: str = "",
    ) -> Response:
        """Ask for several clouds."""
        made = fan_out_headers(clouds, service=service, operator=operator, missing=missing)
        reader, writer = await self.send(url, {**made, **(headers or {})}, method=method, body=body)
        try:
            return await self.receive(reader, method=method)
        finally:
            writer.close()
