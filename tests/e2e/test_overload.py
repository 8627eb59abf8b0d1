"""An Envoy under memory pressure, and with clients that stall."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Connection, send
from harness.services import at
from harness.stalled_requests import Clients, Service
from scopeway.control_plane.translator import http_connection_managers
from scopeway.control_plane.translator.bootstrap import bootstrap

MEGABYTE = 1 << 20
HEAP = 128 * MEGABYTE
"""Of the front's Envoy; from half of it on, requests are ended."""
MANY = 60
"""Stalled requests between sites that would take twice as much."""
SCOPE = [("X-Scope", "{image:cloud-2}")]
STALLED = 1.0


@pytest.fixture(scope="module")
def service(fleet: Fleet) -> Iterator[Service]:
    made = Service(fleet.background)
    yield made
    made.close()


@pytest.fixture(scope="module")
def front(fleet: Fleet, service: Service) -> int:
    services = {"image": {"endpoints": [at(service.port)]}}
    fleet.site("cloud-2", services=services, accept=[{"clouds": ["cloud-1"]}])
    port = fleet.free_port()
    fleet.control_plane.put(manifest("cloud-1", front=at(port), services=services))
    config = bootstrap(
        cloud="cloud-1",
        xds=[("127.0.0.1", fleet.control_plane.port)],
        admin=("127.0.0.1", 0),
        max_heap_size=HEAP,
    )
    fleet.run_envoy("cloud-1", config).wait_ready()
    assert fleet.eventually(lambda: listens(port))
    return port


def listens(port: int) -> bool:
    with suppress(OSError), Connection(port):
        return True
    return False


def allocated(fleet: Fleet) -> int:
    return int(fleet.envoys["cloud-1"].admin("/memory").json["allocated"])


def ended(fleet: Fleet) -> int:
    """How many requests the Envoy has ended for the memory that they held."""
    name = "envoy.overload_actions.reset_high_memory_stream.count"
    return sum(fleet.envoys["cloud-1"].stats(name).values())


@pytest.mark.parametrize("protocol", ["h1", "h2"])
@pytest.mark.parametrize("what", ["download", "upload"])
def test_overload_ends_the_requests_that_use_most_memory_and_others_continue(
    fleet: Fleet, front: int, what: str, protocol: str
) -> None:
    size, before = 20 * MEGABYTE, ended(fleet)
    with Clients(front, SCOPE) as clients:
        if what == "download":
            clients.download("/image/endless", protocol, MANY)
        else:
            clients.upload("/image/deaf", protocol, MANY)
        assert fleet.eventually(lambda: ended(fleet) > before)
        assert fleet.eventually(lambda: allocated(fleet) < HEAP), allocated(fleet)
        assert len(send(front, f"/image/{size}", SCOPE).body) == size


@pytest.fixture(scope="module")
def impatient(fleet: Fleet, service: Service) -> int:
    """The port of a front that gives its clients a second to take something of an answer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_connection_managers, "STALLED", timedelta(seconds=STALLED))
        patch.setattr(http_connection_managers, "BETWEEN_REQUESTS", timedelta(seconds=STALLED))
        patch.setattr(http_connection_managers, "CLOSING", timedelta(seconds=0.1))
        forget()
        services = {"image": {"endpoints": [at(service.port)]}}
        cloud = fleet.site("cloud-3", peer=False, services=services)
        forget()
    assert cloud.front is not None
    return cloud.front.port


def test_a_client_that_reads_nothing_is_disconnected(fleet: Fleet, impatient: int) -> None:
    with Clients(impatient, []) as clients:
        clients.download("/image/endless", "h1", 3)
        assert fleet.eventually(lambda: active(fleet, "cloud-3") == 3)
        assert fleet.eventually(lambda: active(fleet, "cloud-3") == 0)


def test_a_client_that_reads_slowly_is_not_disconnected(fleet: Fleet, impatient: int) -> None:
    with socket.create_connection(("127.0.0.1", impatient)) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        client.sendall(b"GET /image/endless HTTP/1.1\r\nHost: front.example\r\n\r\n")
        until = time.monotonic() + 3 * STALLED
        while time.monotonic() < until:
            time.sleep(STALLED / 5)
            assert client.recv(1 << 15)
        assert active(fleet, "cloud-3") == 1


def test_an_idle_connection_without_a_request_is_closed(fleet: Fleet, impatient: int) -> None:
    with Connection(impatient) as client:
        assert client.send("/image/2").status == 200
        assert client.socket.recv(1) == b""


def forget() -> None:
    """Forget what sites share, so that it is made with the constants of now."""
    http_connection_managers.listener.cache_clear()
    http_connection_managers.front.cache_clear()


def active(fleet: Fleet, cloud: str) -> int:
    """How many requests a front has under way."""
    name = "http.front.downstream_rq_active"
    return fleet.envoys[cloud].stats(name)[name]
