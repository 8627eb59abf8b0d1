"""Clients that are slow at the end of an answer get all of it, although the connection then closes.

When the service has sent everything, Envoy still holds what the client has not read yet.
"""

import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from threading import Event

import pytest

from harness.fleet import Fleet
from harness.http import send
from harness.raw_service import RawService
from harness.services import at
from scopeway.control_plane.translator import cluster_templates, http_connection_managers

SCOPES = {
    "own": "",
    "peer": "{image:cloud-2}",
    "alternatives": "{image:cloud-2|cloud-1}",
}
PAUSE = 1.5
"""Seconds; without a limit of ours, Envoy closes after one."""
BLOCK = bytes(1 << 16)
LAST = b"\r\n0\r\n\r\n"
IDLE = timedelta(seconds=0.8)
"""Of connections to the `dispatch` of cloud-3; without a request, it closes them a second later."""
CLOSED = 2.1


class Service:
    """Answers until a listener of an Envoy has to hold some of it, and ends the answer there."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.cloud, self.manager, self.waits = "cloud-1", "front", 0.0
        """Whose listener; how many seconds until the end then comes."""
        self.ended = Event()
        self.raw = RawService(self._answer)

    def _answer(self, client: socket.socket, head: bytes) -> bool:
        if head.startswith(b"PUT"):
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            return True
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self._is_full():
            client.sendall(b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK))
        time.sleep(self.waits)
        client.sendall(LAST.removeprefix(b"\r\n"))
        self.ended.set()
        return True

    def _is_full(self) -> bool:
        """Whether the other side takes no more, and not just for a moment."""
        for _ in range(5):
            if self.buffered() == 0:
                return False
            time.sleep(0.01)
        return True

    def buffered(self) -> int:
        """Bytes that the listener holds of answers."""
        return self._counter("downstream_cx_tx_bytes_buffered")

    def requests(self) -> int:
        return self._counter("downstream_rq_active")

    def _counter(self, name: str) -> int:
        name = f"http.{self.manager}.{name}"
        return self._fleet.envoys[self.cloud].stats(name)[name]


@pytest.fixture(scope="module")
def service(fleet: Fleet) -> Iterator[Service]:
    made = Service(fleet)
    yield made
    made.raw.close()


@pytest.fixture(scope="module")
def front(fleet: Fleet, service: Service) -> int:
    """The port of a front that may hold more than one block, so that it surely holds the end."""
    services = {"image": {"endpoints": [at(service.raw.port)]}}
    fleet.site("cloud-2", services=services, accept=[{"clouds": ["cloud-1"]}])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_connection_managers, "READ_AHEAD", 1 << 20)
        http_connection_managers.listener.cache_clear()
        cloud = fleet.site("cloud-1", services=services)
        http_connection_managers.listener.cache_clear()
    assert cloud.front is not None
    return cloud.front.port


@pytest.fixture(scope="module")
def impatient(fleet: Fleet, service: Service, front: int) -> int:
    """The port of a front whose `dispatch` soon closes connections without a request."""
    assert front
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_connection_managers, "DISPATCH_IDLE", IDLE)
        patch.setattr(cluster_templates, "CLOUDS_IDLE", IDLE / 2)
        forget()
        services = {"image": {"endpoints": [at(service.raw.port)]}}
        cloud = fleet.site("cloud-3", peer=False, services=services)
        assert cloud.front is not None
        head = [("X-Scope", "{image:cloud-3|cloud-2}")]
        assert send(cloud.front.port, "/image/x", head, method="PUT").status == 200
    forget()
    return cloud.front.port


def forget() -> None:
    """Forget what sites and targets share, so that it is made with the constants of now."""
    http_connection_managers.dispatch.cache_clear()
    cluster_templates.cluster_of_clouds.cache_clear()
    cluster_templates._cluster_of_clouds.cache_clear()


def slow_answer(fleet: Fleet, front: int, service: Service, *headers: str) -> bytes:
    """What a client gets that takes nothing until the service has ended, and then pauses."""
    service.ended.clear()
    head = ["GET /image/x HTTP/1.1", "Host: front.example", *headers]
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # as in a real network
        client.connect(("127.0.0.1", front))
        client.sendall("\r\n".join([*head, "", ""]).encode())
        assert service.ended.wait(10)
        assert fleet.eventually(lambda: service.requests() == 0)
        assert service.buffered() > 0
        time.sleep(PAUSE)
        received = bytearray()
        while not received.endswith(LAST) and (more := client.recv(1 << 16)):
            received += more
        return bytes(received)


@pytest.mark.parametrize("where", SCOPES)
def test_a_client_that_pauses_before_the_end_gets_the_whole_answer(
    fleet: Fleet, front: int, service: Service, where: str
) -> None:
    scope = [f"X-Scope: {SCOPES[where]}"] if SCOPES[where] else []

    assert slow_answer(fleet, front, service, "Connection: close", *scope).endswith(LAST)


def test_an_internal_connection_stays_open_during_an_answer(
    fleet: Fleet, impatient: int, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an alternative of several clouds, and however long the client takes."""
    monkeypatch.setattr(service, "cloud", "cloud-3")
    monkeypatch.setattr(service, "manager", "dispatch")
    monkeypatch.setattr(service, "waits", CLOSED)

    assert slow_answer(fleet, impatient, service, "X-Scope: {image:cloud-3|cloud-2}").endswith(LAST)


def test_a_request_is_served_after_the_internal_connection_has_closed(impatient: int) -> None:
    head = [("X-Scope", "{image:cloud-3|cloud-2}")]
    assert send(impatient, "/image/x", head, method="PUT").status == 200
    time.sleep(CLOSED)
    assert send(impatient, "/image/x", head, method="PUT").status == 200
