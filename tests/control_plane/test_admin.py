"""The admin address over real HTTP."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from harness.http import Connection, send
from prometheus_client import CollectorRegistry, Counter

from control_plane.admin import AdminServer
from control_plane.errors import ControlPlaneError


class Told:
    """What the control plane behind the server says."""

    def __init__(self) -> None:
        self.status: Callable[[], Mapping[str, Any]] = lambda: {"clouds": 3}
        self.metrics = CollectorRegistry()

    def __call__(self) -> Mapping[str, Any]:
        return self.status()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def admin(told: Told) -> Iterator[AdminServer]:
    server = AdminServer(("127.0.0.1", 0), registry=told.metrics, status=told)
    server.start()
    yield server
    server.close()


def test_it_is_healthy_at_once_and_ready_when_it_is_told(admin: AdminServer) -> None:
    before = send(admin.port, "/readyz")
    admin.ready = True

    assert send(admin.port, "/healthz").status == 200
    assert (before.status, before.body) == (503, b"the registry has not been listed yet\n")
    assert send(admin.port, "/readyz?verbose").status == 200


def test_metrics_are_those_of_its_registry(admin: AdminServer, told: Told) -> None:
    Counter("potatoes", "Peeled.", registry=told.metrics).inc(7)
    response = send(admin.port, "/metrics")

    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert b"potatoes_total 7.0" in response.body


def test_status_is_json(admin: AdminServer) -> None:
    response = send(admin.port, "/status")

    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body) == {"clouds": 3}


def test_a_control_plane_too_busy_for_its_status_is_a_503(admin: AdminServer, told: Told) -> None:
    def status() -> Mapping[str, Any]:
        raise TimeoutError

    told.status = status

    assert send(admin.port, "/status").status == 503
    assert send(admin.port, "/healthz").status == 200


def test_another_path_is_a_404_that_helps(admin: AdminServer) -> None:
    response = send(admin.port, "/")

    assert (response.status, b"/healthz" in response.body) == (404, True)


def test_a_client_that_says_nothing_holds_up_nobody(admin: AdminServer) -> None:
    with Connection(admin.port):
        assert send(admin.port, "/healthz").status == 200


def test_a_closed_server_frees_its_port(told: Told) -> None:
    first = AdminServer(("127.0.0.1", 0), registry=told.metrics, status=told)
    first.start()
    first.close()
    second = AdminServer(("127.0.0.1", first.port), registry=told.metrics, status=told)
    second.close()

    assert second.port == first.port


def test_it_listens_on_ipv6(told: Told) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    server = AdminServer(("::1", 0), registry=told.metrics, status=told)
    server.start()
    try:
        with socket.create_connection(("::1", server.port), timeout=10) as client:
            client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")

            assert client.recv(100).startswith(b"HTTP/1.0 200 ")
    finally:
        server.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_an_address_that_cannot_be_had_is_a_sentence(admin: AdminServer, host: str) -> None:
    with pytest.raises(ControlPlaneError) as raised:
        AdminServer((host, admin.port), registry=CollectorRegistry(), status=dict)

    assert str(raised.value).startswith(f"cannot listen on {host}:{admin.port}: ")
    assert str(raised.value).endswith(" (--admin-listen)")
