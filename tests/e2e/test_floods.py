"""Floods of cheap HTTP/2 frames: Envoy closes a connection that sends too many.

They are sent to a front, and to a peer with a valid certificate. Other clients are served as
before.
"""

import socket
import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import PingAckReceived, StreamReset

from harness.envoy import Envoy
from harness.fleet import Fleet
from harness.http import TIMEOUT
from harness.http2 import Connection2
from scopeway.control_plane.translator.http_connection_managers import FRONT_STREAMS, PEER_STREAMS

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

GET = [(":method", "GET"), (":scheme", "https"), (":authority", "a"), (":path", "/image/v2")]
POST = [(":method", "POST"), *GET[1:]]
MANY = 200_000
ENDED = (ConnectionError, ssl.SSLEOFError)


@dataclass(frozen=True)
class Target:
    """A listener, and how it is spoken to."""

    port: int
    tls: ssl.SSLContext | None
    envoy: Envoy
    manager: str
    streams: int
    """Requests at a time on one connection."""

    def counter(self, name: str) -> int:
        name = name.format(manager=self.manager)
        return self.envoy.stats(name).get(name, 0)


@pytest.fixture(scope="module", params=["front", "peer"])
def target(request: pytest.FixtureRequest, fleet: Fleet) -> Target:
    name = f"cloud-{request.param}"
    accept = [{"clouds": ["cloud-9"]}]
    cloud = fleet.site(name, services={"image": fleet.service("glance")}, accept=accept)
    assert cloud.front
    assert cloud.peer
    assert fleet.sites
    if request.param == "front":
        return Target(cloud.front.port, None, fleet.envoys[name], "front", FRONT_STREAMS)
    tls = fleet.sites.client("cloud-9")
    return Target(cloud.peer.port, tls, fleet.envoys[name], "peer", PEER_STREAMS)


def frame(kind: int, stream: int, payload: bytes = b"") -> bytes:
    length, number = len(payload).to_bytes(3, "big"), stream.to_bytes(4, "big")
    return b"".join((length, bytes([kind, 0]), number, payload))


def beginning(fields: list[tuple[str, str]] | None, *, ends: bool = False) -> bytes:
    """What a connection begins with, and perhaps the head of a request."""
    state = H2Connection(H2Configuration())
    state.initiate_connection()
    if fields is not None:
        state.send_headers(1, fields, end_stream=ends)
    return state.data_to_send()


def resets() -> Iterator[bytes]:
    """Requests that are taken back at once."""
    state = H2Connection(H2Configuration())
    state.initiate_connection()
    for stream in range(1, 6000, 2):
        state.send_headers(stream, GET, end_stream=True)
        state.reset_stream(stream)
        yield state.data_to_send()


def repeated(fields: list[tuple[str, str]] | None, each: bytes, more: bytes = b"") -> list[bytes]:
    count = 1000
    return [beginning(fields) + more, *[each * count] * (MANY // count)]


def opened(target: Target) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", target.port), timeout=TIMEOUT)
    if target.tls is None:
        return connection
    return target.tls.wrap_socket(connection, server_hostname="peer")


def flood(target: Target, chunks: Iterator[bytes] | list[bytes]) -> None:
    """Send until the connection has been ended, or all; then wait for its end.

    Raises:
        TimeoutError: It has not been ended.
    """
    with opened(target) as connection, suppress(*ENDED):
        for chunk in chunks:
            connection.sendall(chunk)
        while connection.recv(1 << 16):
            pass


FLOODS = {
    "SETTINGS": repeated(None, frame(4, 0)),
    "PING": repeated(None, frame(6, 0, b"12345678")),
    "PRIORITY": repeated(None, frame(2, 3, b"\0\0\0\0\1")),
    "WINDOW_UPDATE": repeated(POST, frame(8, 1, b"\0\0\0\1")),
    "empty DATA": repeated(POST, frame(0, 1)),
    "empty CONTINUATION": repeated(None, frame(9, 1), frame(1, 1, b"\x82")),
    "CONTINUATION": repeated(
        None, frame(9, 1, b"\0\1a\x7f\x81\1" + b"b" * 256), frame(1, 1, b"\x82")
    ),
}
CLOSED = "http.{manager}.downstream_cx_destroy_local"
TAKEN_BACK = "http.{manager}.downstream_rq_too_many_premature_resets"


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_of_http_2_frames_closes_its_connection_and_no_other(
    fleet: Fleet, target: Target, kind: str
) -> None:
    before, asked = target.counter(CLOSED), fleet.echo("glance").requests
    with Connection2(target.port, tls=target.tls) as another:
        flood(target, FLOODS[kind])

        assert fleet.eventually(lambda: target.counter(CLOSED) == before + 1)
        assert fleet.echo("glance").requests == asked
        assert another.send("/image/v2").status == 200


def test_a_flood_of_reset_requests_closes_its_connection(fleet: Fleet, target: Target) -> None:
    before, asked = target.counter(TAKEN_BACK), fleet.echo("glance").requests
    with Connection2(target.port, tls=target.tls) as another:
        flood(target, resets())

        assert target.counter(TAKEN_BACK) == before + 1
        assert fleet.echo("glance").requests - asked < 250
        assert another.send("/image/v2").status == 200


@pytest.mark.parametrize("more", [0, 1])
def test_concurrent_streams_of_a_connection_are_limited(target: Target, more: int) -> None:
    """A stream above the limit is refused, and the others continue."""
    state = H2Connection(H2Configuration())
    state.initiate_connection()
    streams = range(1, 2 * (target.streams + more), 2)
    for stream in streams:
        state.send_headers(stream, POST)
    state.ping(b"12345678")
    with opened(target) as connection:
        connection.sendall(state.data_to_send())
        events: list[object] = []
        while not any(isinstance(each, PingAckReceived) for each in events):
            events += state.receive_data(connection.recv(1 << 16))

    refused = [each.stream_id for each in events if isinstance(each, StreamReset)]
    assert refused == list(streams[target.streams :])
