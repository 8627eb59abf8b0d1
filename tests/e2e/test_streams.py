"""Long, large and two-way transfers, through every kind of front and to every kind of cloud.

Envoy forwards each byte at once, and ends no transfer because a service is silent for long.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.client import HTTPResponse
from typing import Any

import pytest

from harness.certificates import Authority
from harness.echo import Echo
from harness.fleet import Fleet, manifest
from harness.http import Connection
from harness.http2 import Connection2
from scopeway.control_plane.clouds.model import Front

MEGABYTE = 1 << 20
SIZE = 48
"""Megabytes of a big body."""
LITTLE = 32 * MEGABYTE
"""Memory of an Envoy meanwhile: more than what a peer may have sent ahead."""
SILENCE = 16
"""Seconds; Envoy's own routes give up after 15."""
FRONTS = ["plain", "https"]
CLOUDS = ["cloud-1", "cloud-2", "cloud-3", "dead|cloud-2", "dead|cloud-3"]
"""The own services, through a peer, without an Envoy; and the second choice, through `dispatch`."""


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def fronts(
    fleet: Fleet, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Front]:
    """A plain front and one that speaks TLS; what is the own cloud of both answers at cloud-1."""
    anyone = [{"clouds": ["cloud-1", "secure"]}]
    glances = {name: fleet.service(name.replace("cloud", "glance")) for name in CLOUDS[:3]}
    fleet.site("cloud-2", services={"image": glances["cloud-2"]}, accept=anyone)
    fleet.control_plane.put(
        manifest("cloud-3", services={"image": glances["cloud-3"]}, accept=anyone),
        manifest("dead", services={"image": fleet.nobody()}, accept=anyone),
    )
    tls = authority.write(tmp_path_factory.mktemp("certificate"), "front.example")
    services = {"image": glances["cloud-1"]}
    plain = fleet.site("cloud-1", services=services, accept=anyone)
    secure = fleet.site("secure", front={"tls": tls}, services=services)
    assert plain.front
    assert secure.front
    return {"plain": plain.front, "https": secure.front}


class Way:
    """From a client by a front to the service of a cloud."""

    def __init__(self, fleet: Fleet, front: Front, authority: Authority, cloud: str) -> None:
        self.echo = fleet.echo(cloud.rpartition("|")[2].replace("cloud", "glance"))
        own = front.tls is not None and cloud == "cloud-1"
        self.headers = [("x-scope", "{}" if own else f"{{image:{cloud}}}")]
        self.connect: Callable[[], Connection] = partial(
            Connection, front.port, tls=authority.client() if front.tls else None
        )
        tls = authority.client() if front.tls else None
        if tls is not None:
            tls.set_alpn_protocols(["h2"])
        self.connect_http2: Callable[[], Connection2] = partial(
            Connection2, front.port, tls=tls, server_name="front.example"
        )

    def known(self) -> "Way":
        """Let Envoy find out what is dead, so that a body needs no second choice."""
        with self.connect() as connection:
            assert connection.send("/image/", self.headers).status == 200
        return self


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=FRONTS)
def way(
    request: pytest.FixtureRequest,
    fleet: Fleet,
    fronts: dict[str, Front],
    authority: Authority,
    cloud: str,
) -> Iterator[Way]:
    made = Way(fleet, fronts[request.param], authority, cloud).known()
    yield made
    made.echo.chunks = None


class Paced:
    """Chunks of an answer, of which the last waits until it is let go."""

    def __init__(self, fleet: Fleet, *chunks: bytes) -> None:
        self._loop, self._chunks, self._go = fleet.background.loop, chunks, asyncio.Event()

    async def __call__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks[:-1]:
            yield chunk
        await self._go.wait()
        yield self._chunks[-1]

    def let_go(self) -> None:
        self._loop.call_soon_threadsafe(self._go.set)


class TestAnswers:
    """In chunks, whose first ones arrive before the last is sent."""

    def test_an_answer_is_streamed_over_http_1(self, fleet: Fleet, way: Way) -> None:
        way.echo.chunks = paced = Paced(fleet, b"data: 1\n\n", b"data: 2\n\n")
        with way.connect() as connection:
            lines = [f"{name}: {value}" for name, value in (("Host", "a"), *way.headers)]
            connection.socket.sendall(
                "\r\n".join(["GET /image/events HTTP/1.1", *lines, "", ""]).encode()
            )
            response = HTTPResponse(connection.socket)
            response.begin()
            first = response.read1()
            paced.let_go()

            assert (response.status, first) == (200, b"data: 1\n\n")
            assert response.read() == b"data: 2\n\n"

    def test_an_answer_is_streamed_over_http_2(self, fleet: Fleet, way: Way) -> None:
        way.echo.chunks = paced = Paced(fleet, b"data: 1\n\n", b"data: 2\n\n")
        with way.connect_http2() as connection:
            assert connection.begin("/image/events", way.headers).status == 200
            body = connection.body()
            first = next(body)
            paced.let_go()

            assert (first, b"".join(body)) == (b"data: 1\n\n", b"data: 2\n\n")

    def test_a_large_answer_arrives_complete_in_little_memory(self, fleet: Fleet, way: Way) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for number in range(SIZE):
                yield bytes([number]) * MEGABYTE

        envoys = list(fleet.envoys.values())
        before = [envoy.memory() for envoy in envoys]
        way.echo.chunks, length, sha256 = chunks, 0, hashlib.sha256()
        with way.connect_http2() as connection:
            assert connection.begin("/image/file", way.headers).status == 200
            for data in connection.body():
                length += len(data)
                sha256.update(data)
        expected = hashlib.sha256(b"".join(bytes([number]) * MEGABYTE for number in range(SIZE)))
        grown = [envoy.peak_memory() - memory for envoy, memory in zip(envoys, before, strict=True)]

        assert (length, sha256.digest()) == (SIZE * MEGABYTE, expected.digest())
        assert max(grown) < LITTLE, grown


class TestRequests:
    """The service has the first bytes of a body before the client sends the last."""

    @staticmethod
    def body(fleet: Fleet, echo: Echo) -> Iterator[bytes]:
        before = echo.received
        yield b"first"
        assert fleet.eventually(lambda: echo.received - before == len(b"first"))
        yield b"last"

    def test_a_request_body_is_streamed_over_http_1(self, fleet: Fleet, way: Way) -> None:
        with way.connect() as connection:
            response = connection.send(
                "/image/file", way.headers, method="PUT", body=self.body(fleet, way.echo)
            )

        assert (response.status, response.json["length"]) == (200, 9)

    def test_a_request_body_is_streamed_over_http_2(self, fleet: Fleet, way: Way) -> None:
        with way.connect_http2() as connection:
            body = self.body(fleet, way.echo)
            response = connection.send("/image/file", way.headers, method="PUT", body=body)

        assert (response.status, response.json["length"]) == (200, 9)

    def test_a_large_request_body_arrives_complete_in_little_memory(
        self, fleet: Fleet, way: Way
    ) -> None:
        envoys = list(fleet.envoys.values())
        before = [envoy.memory() for envoy in envoys]
        with way.connect_http2() as connection:
            body = (bytes([number]) * MEGABYTE for number in range(SIZE))
            response = connection.send("/image/file", way.headers, method="PUT", body=body)
        said = response.json
        expected = hashlib.sha256(b"".join(bytes([number]) * MEGABYTE for number in range(SIZE)))
        grown = [envoy.peak_memory() - memory for envoy, memory in zip(envoys, before, strict=True)]

        assert (response.status, said["length"], said["sha256"]) == (
            200,
            SIZE * MEGABYTE,
            expected.hexdigest(),
        )
        assert max(grown) < LITTLE, grown

    def test_a_client_that_expects_100_continue_gets_it(self, way: Way) -> None:
        headers = [*way.headers, ("Host", "a"), ("Expect", "100-continue"), ("Content-Length", "4")]
        lines = [f"{name}: {value}" for name, value in headers]
        with way.connect() as connection:
            connection.socket.sendall(
                "\r\n".join(["PUT /image/file HTTP/1.1", *lines, "", ""]).encode()
            )
            told = connection.socket.recv(25)
            connection.socket.sendall(b"body")
            response = connection.read()

        assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert (response.status, response.json["length"]) == (200, 4)


def test_a_websocket_transfers_messages_both_ways(way: Way) -> None:
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket"), *way.headers]
    with way.connect() as connection:
        response = connection.send("/image/console", upgrade)
        assert response.status == 101
        for message in (b"hello", b"x" * 1000):
            connection.socket.sendall(message)
            got = b""
            while len(got) < len(message):
                got += connection.socket.recv(4096)

            assert got == message


def test_a_service_may_be_silent_longer_than_the_default_timeouts_of_envoy(
    fleet: Fleet, fronts: dict[str, Front], authority: Authority
) -> None:
    """All ways at once, as each of them takes that long."""

    async def chunks() -> AsyncIterator[bytes]:
        await asyncio.sleep(SILENCE)
        yield b"done"

    ways = [
        Way(fleet, front, authority, cloud).known() for front in fronts.values() for cloud in CLOUDS
    ]

    def ask(way: Way, method: str) -> Any:
        with way.connect() as connection:
            return connection.send("/image/long", way.headers, method=method)

    for way in ways:
        way.echo.chunks = chunks
    try:
        with ThreadPoolExecutor(2 * len(ways)) as pool:
            asked = [pool.submit(ask, way, method) for way in ways for method in ("GET", "POST")]
            answers = [each.result() for each in asked]
    finally:
        for way in ways:
            way.echo.chunks = None

    assert [(each.status, each.body) for each in answers] == [(200, b"done")] * 2 * len(ways)
