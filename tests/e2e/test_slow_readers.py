"""Clients that are slow at the end of an answer get all of it, although the connection then closes.

When the service has sent everything, Envoy still holds what the client's connection does not take.
"""

import socket
import time
from collections.abc import Iterator
from threading import Event

import pytest
from harness.fleet import Fleet
from harness.raw import RawService
from harness.services import at

from control_plane.site import connection

SCOPES = {
    "own": "",
    "peer": "{image:cloud-2}",
    "alternatives": "{image:cloud-2|cloud-1}",
}
PAUSE = 1.5
"""Seconds; without a limit of ours, Envoy closes after one."""
BLOCK = bytes(1 << 16)
LAST = b"\r\n0\r\n\r\n"
BUFFERED = "http.front.downstream_cx_tx_bytes_buffered"
ACTIVE = "http.front.downstream_rq_active"


class Service:
    """Answers until the front's Envoy has to hold some of it, and ends the answer there."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.ended = Event()
        self.raw = RawService(self._answer)

    def _answer(self, client: socket.socket, _: bytes) -> bool:
        client.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while not self._front_is_full():
            client.sendall(b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK))
        client.sendall(LAST.removeprefix(b"\r\n"))
        self.ended.set()
        return True

    def _front_is_full(self) -> bool:
        """Whether the client's connection takes no more, and not just for a moment."""
        for _ in range(5):
            if counter(self._fleet, BUFFERED) == 0:
                return False
            time.sleep(0.01)
        return True


def counter(fleet: Fleet, name: str) -> int:
    return fleet.envoys["cloud-1"].stats(name)[name]


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
        patch.setattr(connection, "READ_AHEAD", 1 << 20)
        connection.listener.cache_clear()
        cloud = fleet.site("cloud-1", services=services)
        connection.listener.cache_clear()
    assert cloud.front is not None
    return cloud.front.port


@pytest.mark.parametrize("where", SCOPES)
def test_who_pauses_at_the_end_gets_all_of_an_answer(
    fleet: Fleet, front: int, service: Service, where: str
) -> None:
    service.ended.clear()
    head = ["GET /image/x HTTP/1.1", "Host: front.example", "Connection: close"]
    head += [f"X-Scope: {SCOPES[where]}"] if SCOPES[where] else []
    with socket.socket() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)  # as in a real network
        client.connect(("127.0.0.1", front))
        client.sendall("\r\n".join([*head, "", ""]).encode())
        assert service.ended.wait(10)
        assert fleet.eventually(lambda: counter(fleet, ACTIVE) == 0)
        assert counter(fleet, BUFFERED) > 0
        time.sleep(PAUSE)
        received = b"".join(iter(lambda: client.recv(1 << 16), b""))

    assert received.endswith(LAST)
