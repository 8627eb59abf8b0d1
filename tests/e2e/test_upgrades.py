"""Upgrades: a connection becomes a WebSocket only if both sides agree, and nothing else.

No service reads the bytes after such a request as another request.
"""

import socket
from collections.abc import Iterator

import pytest

from harness.fleet import Fleet, at, manifest
from harness.http import Connection, Response, send
from harness.http2 import Refused, send2
from harness.raw_service import RawService, answer, saying

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

ANYONE = [{"clouds": ["cloud-1"]}]
CLOUDS = ["cloud-1", "cloud-2", "cloud-3"]
SCOPES = [*CLOUDS, "cloud-2|cloud-1", "cloud-1|cloud-2"]
OTHERS = [
    "TLS/1.2",
    "tls/1.3, HTTP/2.0",
    "h2c",
    "foo",
    "websocke",
    "websocketx",
    "web",
    "WebSocket/2",
]
SMUGGLED = b"DELETE /image/v2/all HTTP/1.1\r\nHost: evil\r\n\r\n"


@pytest.fixture(scope="module")
def service() -> Iterator[RawService]:
    """A service that ignores the wish to upgrade, and keeps its connections."""
    with RawService(saying(answer(200))) as service:
        yield service


@pytest.fixture(scope="module")
def front(fleet: Fleet, service: RawService) -> int:
    one = {"endpoints": [at(service.port)]}
    spec = {"services": {"image": one, "identity": one}, "accept": ANYONE}
    fleet.site("cloud-2", **spec)
    fleet.control_plane.put(manifest("cloud-3", **spec))
    identity = {"clouds": ["cloud-2"]}
    honours = {**identity, "services": ["identity.validate"], "identity": identity}
    cloud = fleet.site("cloud-1", **{**spec, "accept": [honours]})
    assert cloud.front
    return cloud.front.port


def ask(port: int, cloud: str, upgrade: str, more: bytes = b"") -> Response:
    head = f"GET /image/v2 HTTP/1.1\r\nHost: a\r\nX-Scope: {{image:{cloud}}}\r\n"
    head += f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n"
    with Connection(port) as connection:
        connection.socket.sendall(head.encode() + more)
        return connection.read()


@pytest.mark.parametrize("upgrade", OTHERS)
@pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2", "cloud-1|cloud-2"])
def test_an_upgrade_to_another_protocol_is_ignored(
    front: int, service: RawService, cloud: str, upgrade: str
) -> None:
    response = ask(front, cloud, upgrade)

    assert (response.status, response.body) == (200, b"ok")
    assert "upgrade" not in response.headers
    assert b"upgrade" not in service.heads[-1].lower()


@pytest.mark.parametrize("cloud", SCOPES)
@pytest.mark.parametrize("status", [200, 201, 204, 404])
def test_an_answer_other_than_101_to_an_upgrade_starts_no_tunnel(
    front: int, service: RawService, cloud: str, status: int
) -> None:
    service.handle = saying(answer(status, b"" if status == 204 else b"ok"))
    service.heads.clear()
    try:
        response = ask(front, cloud, "websocket", SMUGGLED)
    finally:
        service.handle = saying(answer(200))

    assert {each.split()[0] for each in service.heads} == {b"GET"}
    if cloud == "cloud-2" and status < 300:
        assert response.status == 502
        message = response.error["message"]
        assert f"a WebSocket was asked for, and the service answered {status}" in message
    elif "|" in cloud:  # a read goes on to the next cloud after a 404 or 502
        assert response.status in {status, 502}
    else:
        assert (response.status, len(service.heads)) == (status, 1)


def test_a_crafted_upgrade_at_a_peer_starts_no_tunnel(
    fleet: Fleet, front: int, service: RawService
) -> None:
    """A client with a certificate that says more than the front would."""
    cloud = fleet.control_plane.inventory.get("cloud-2")
    assert fleet.sites
    assert cloud
    assert cloud.peer
    service.heads.clear()
    response = send2(
        cloud.peer.port,
        "/image/v2",
        method="CONNECT",
        pseudo=[(":protocol", "websocket")],
        body=SMUGGLED,
        tls=fleet.sites.client("cloud-1"),
    )

    assert response.status == 502
    assert [each.split()[0] for each in service.heads] == [b"GET"]


def test_an_upgrade_of_a_request_with_a_time_limit_starts_no_tunnel(
    front: int, service: RawService
) -> None:
    upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
    token = ("X-Subject-Token", "abc~1~*:cloud-2")
    response = send(front, "/identity/v3/auth/tokens", [token, *upgrade])

    assert response.status == 502
    assert "a WebSocket was asked for" in response.error["message"]


def test_a_connect_for_another_protocol_over_http_2_is_refused(
    front: int, service: RawService
) -> None:
    service.heads.clear()
    try:
        response = send2(front, "/image/v2", method="CONNECT", pseudo=[(":protocol", "foo")])
    except Refused:
        pass
    else:
        assert response.status >= 400
    assert not service.heads


def test_a_client_that_half_closes_is_treated_as_disconnected(
    front: int, service: RawService
) -> None:
    """Envoy's limit (docs/limits.md): should it change, this tells."""

    def wait_for_the_end(connection: socket.socket, _: bytes) -> bool:
        connection.recv(1)  # it is closed without an answer
        return False

    service.handle = wait_for_the_end
    try:
        with Connection(front) as connection:
            connection.socket.sendall(b"GET /image/v2 HTTP/1.1\r\nHost: a\r\n\r\n")
            connection.socket.shutdown(socket.SHUT_WR)

            assert connection.socket.recv(100) == b""
    finally:
        service.handle = saying(answer(200))
