"""A cloud is ejected from an alternative only if no connection to it can be made.

The requests of one user (a refused upload, an error of the service, a broken connection) eject no
cloud: otherwise, writes of all other users would go to the next cloud.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPException
from typing import Any

import pytest

from harness.fleet import Fleet, at, manifest
from harness.http import Connection, Response, send
from harness.raw_service import Handler, RawService, answer, saying

pytestmark = pytest.mark.fleet(closing=0.1)

ANYONE = [{"clouds": ["cloud-1"]}]
GOOD = saying(answer(200))
KINDS = ["behind", "direct"]
"""A cloud with an Envoy of its own, and one without."""


@pytest.fixture(scope="module")
def service() -> Iterator[RawService]:
    with RawService(GOOD) as service:
        yield service


@pytest.fixture(scope="module")
def front(fleet: Fleet, service: RawService) -> int:
    spec = {"services": {"image": {"endpoints": [at(service.port)]}}, "accept": ANYONE}
    fleet.site("behind", **spec)
    fleet.control_plane.put(manifest("direct", **spec))
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


def write(port: int, scope: str) -> Response:
    return send(port, "/image/v2/images", [("X-Scope", scope)], method="POST", body=b"{}")


def served_by(port: int, scope: str) -> str:
    return write(port, scope).headers["x-scopeway-served-by"] or ""


def ejected(fleet: Fleet, name: str) -> list[bool]:
    """Whether each cloud of a target is ejected, as its cluster at cloud-1 has it."""
    clusters = fleet.envoys["cloud-1"].admin("/clusters?format=json").json["cluster_statuses"]
    (found,) = (each for each in clusters if each["name"] == name)
    hosts = sorted(found["host_statuses"], key=lambda each: each.get("priority", 0))
    return [bool(each["health_status"].get("failed_outlier_check")) for each in hosts]


def attempts(fleet: Fleet, response: Response) -> int:
    """How many clouds were tried, as the front logs it."""
    lines: list[dict[str, Any]] = []
    envoy = fleet.envoys["cloud-1"]

    def look() -> bool:
        found = envoy.access_log(response.headers["x-request-id"] or "")
        lines[:] = [each for each in found if each["listener"] == "front"]
        return bool(lines)

    assert fleet.eventually(look)
    return int(lines[0]["attempts"])


def ask(port: int, scope: str) -> None:
    write(port, scope)


def upload(port: int, scope: str) -> None:
    """Send much more than the service takes before it refuses."""
    send(
        port,
        "/image/v2/images/1/file",
        [("X-Scope", scope)],
        method="PUT",
        body=(b"x" * (1 << 16) for _ in range(64)),
    )


def break_off(port: int, scope: str) -> None:
    """Go away in the midst of an upload, by a reset."""
    with Connection(port) as connection:
        head = f"PUT /image/v2/x HTTP/1.1\r\nHost: a\r\nX-Scope: {scope}\r\n"
        connection.socket.sendall(f"{head}Content-Length: 9999\r\n\r\nsome".encode())
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


FORGED = ("x-scopeway-unreachable: true", "x-scopeway-unsent: true", "x-envoy-overloaded: true")
CASES: dict[str, tuple[Handler, Callable[[int, str], None]]] = {
    "an upload that is refused early": (saying(answer(413), closes=True), upload),
    "an error of the service": (saying(answer(503)), ask),
    "a bad gateway of the service": (saying(answer(502)), ask),
    "a timeout of the service": (saying(answer(504)), ask),
    "an error that claims to be ours": (saying(answer(503, b"no", *FORGED)), ask),
    "no answer": (saying(b"", closes=True), ask),
    "half an answer": (saying(b"HTTP/1.1 200 OK\r\ncontent-le", closes=True), ask),
    "half a body": (saying(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", closes=True), ask),
    "no HTTP": (saying(b"what?\r\n\r\n", closes=True), ask),
    "too long headers": (saying(answer(200, b"", f"a: {'b' * 100_000}"), closes=True), ask),
    "a client that goes away": (saying(b""), break_off),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES)
def test_misbehaviour_of_one_client_ejects_no_cloud(
    fleet: Fleet, front: int, service: RawService, case: str, kind: str
) -> None:
    scope, target = f"{{image:{kind}|cloud-1}}", f"image@{kind}|cloud-1"
    service.handle = GOOD
    assert served_by(front, scope) == kind
    service.handle, misbehave = CASES[case]
    try:
        with suppress(OSError, HTTPException):  # an answer that broke off
            misbehave(front, scope)
        assert ejected(fleet, target) == [False, False]
    finally:
        service.handle = GOOD

    assert [served_by(front, scope) for _ in range(3)] == [kind] * 3


@pytest.fixture(scope="module")
def silent() -> Iterator[int]:
    """The port of a host that answers no SYN: nobody accepts, and its queue is full."""
    with ExitStack() as sockets:
        listener = sockets.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = sockets.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["refused", "silent", "no-peer"])
def test_an_unreachable_cloud_is_ejected_at_once(
    fleet: Fleet, front: int, silent: int, kind: str
) -> None:
    """A write goes on to the next one, and all that follow don't try the dead one."""
    dead = at(silent if kind == "silent" else fleet.free_port())
    peer = {"peer": dead} if kind == "no-peer" else {}
    services = {"image": {"endpoints": [at(1) if peer else dead]}}
    fleet.control_plane.put(manifest(kind, services=services, accept=ANYONE, **peer))
    scope = f"{{image:{kind}|cloud-1}}"

    first = write(front, scope)

    assert first.headers["x-scopeway-served-by"] == "cloud-1"
    assert attempts(fleet, first) == 2
    # Envoy ejects on its main thread, so requests that are already there may still meet it
    assert fleet.eventually(lambda: attempts(fleet, write(front, scope)) == 1)
    assert ejected(fleet, f"image@{kind}|cloud-1") == [True, False]
    assert served_by(front, scope) == "cloud-1"


def test_a_cloud_with_a_peer_and_an_unreachable_service_is_ejected(
    fleet: Fleet, front: int
) -> None:
    """Its peer reports it. The first write fails: only the peer knows that it was not sent."""
    fleet.site("no-service", services={"image": fleet.nobody()}, accept=ANYONE)
    alone = "{image:no-service}"
    assert fleet.eventually(lambda: served_by(front, alone) == "no-service"), "its peer listens"
    scope = "{image:no-service|cloud-1}"

    first = write(front, scope)

    assert first.status == 503
    assert "image@no-service cannot be reached" in first.error["message"]
    assert "x-scopeway-unreachable" not in first.headers
    assert fleet.eventually(lambda: served_by(front, scope) == "cloud-1")
    assert ejected(fleet, "image@no-service|cloud-1") == [True, False]


def test_endpoints_ejected_because_of_one_client_serve_the_others(fleet: Fleet, front: int) -> None:
    """Envoy counts a reset like a dead endpoint. With half of them ejected, it uses all again."""
    with RawService(GOOD) as one, RawService(GOOD) as other:
        services = {"image": {"endpoints": [at(one.port), at(other.port)]}}
        fleet.control_plane.put(manifest("two", services=services, accept=ANYONE))
        assert write(front, "{image:two}").status == 200

        one.handle = other.handle = saying(b"", closes=True)
        while ejected(fleet, "image@two") != [True, True]:
            assert write(front, "{image:two}").status == 503
        one.handle = other.handle = GOOD

        assert [write(front, "{image:two}").status for _ in range(4)] == [200] * 4
