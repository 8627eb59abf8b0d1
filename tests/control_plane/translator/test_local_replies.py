"""Local replies of Envoy: a sentence for each cause, and no text of Envoy's own.

Most of them are tested in tests/e2e/test_front.py. Here are those that take too long there, or
would disturb other tests; the Envoy of this file has other limits.
"""

from collections.abc import Iterator
from pathlib import Path
from socketserver import BaseRequestHandler, TCPServer
from threading import Thread
from typing import Any

import pytest

from harness.background import Background
from harness.echo import Echo
from harness.envoy import Envoy
from harness.http import Connection, Response
from harness.ports import free_ports
from scopeway.control_plane.translator.local_replies import local_replies

pytestmark = pytest.mark.envoy

MANAGER = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
CONTEXT = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
TLS = {"name": "tls", "typed_config": {"@type": f"type.googleapis.com/{CONTEXT}"}}
GET = "GET / HTTP/1.1\r\nHost: a\r\n"


def listener(port: int) -> dict[str, Any]:
    """A listener that has these answers, and patience for a second."""
    route = {"match": {"prefix": "/"}, "route": {"cluster_header": "x-scopeway-target"}}
    manager = {
        "@type": f"type.googleapis.com/{MANAGER}",
        "stat_prefix": "a",
        "stream_idle_timeout": "1s",
        "request_headers_timeout": "1s",
        "common_http_protocol_options": {"headers_with_underscores_action": "REJECT_REQUEST"},
        "local_reply_config": local_replies().to_dict(),
        "route_config": {"virtual_hosts": [{"name": "a", "domains": ["*"], "routes": [route]}]},
        "http_filters": [{"name": "router", "typed_config": {"@type": ROUTER}}],
    }
    return {
        "name": "a",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "metadata": {"filter_metadata": {"scopeway": {"site": "cloud-1"}}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def cluster(name: str, address: str, port: int, **more: Any) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": address, "port_value": port}}}
    endpoints = [{"lb_endpoints": [{"endpoint": endpoint}]}]
    return {
        "name": name,
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
        **more,
    }


@pytest.fixture(scope="module")
def service() -> Iterator[Echo]:
    background = Background()
    echo = Echo("a").start(background)
    yield echo
    echo.stop(background)
    background.close()


@pytest.fixture(scope="module")
def closing() -> Iterator[int]:
    """The port of somebody who closes every connection at once."""

    class Handler(BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(1 << 16)

    with TCPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def envoy(
    tmp_path_factory: pytest.TempPathFactory, service: Echo, closing: int
) -> Iterator[tuple[Envoy, int]]:
    """An Envoy, and the port of its listener."""
    (port,) = free_ports(1)
    full = {"thresholds": [{"max_pending_requests": 0}]}
    clusters = [
        cluster("echo", "127.0.0.1", service.port),
        cluster("nowhere", "255.255.255.255", 1),  # the kernel refuses at once
        cluster("closing", "127.0.0.1", closing, transport_socket=TLS),
        cluster("full", "127.0.0.1", service.port, circuit_breakers=full),
    ]
    folder: Path = tmp_path_factory.mktemp("replies")
    static = {"listeners": [listener(port)], "clusters": clusters}
    envoy = Envoy({"node": {"id": "a", "cluster": "a"}, "static_resources": static}, folder)
    try:
        yield envoy.wait_ready(), port
    finally:
        envoy.stop()


def answer(port: int, request: str) -> Response:
    with Connection(port) as connection:
        connection.socket.sendall(request.encode())
        return connection.read()


def test_local_replies_do_not_contain_response_code_details() -> None:
    assert "RESPONSE_CODE_DETAILS" not in str(local_replies())


@pytest.mark.parametrize(
    ("status", "message", "request_"),
    [
        (408, "the Envoy of cloud-1 refused this: its headers did not come in time", GET),
        (
            408,
            "the rest of the request did not come in time",
            f"{GET}x-scopeway-target: echo\r\nContent-Length: 9\r\n\r\n1",
        ),
        (
            503,
            "nowhere cannot be reached: no route to its address",
            f"{GET}x-scopeway-target: nowhere\r\n\r\n",
        ),
        (
            503,
            "closing cannot be reached: the connection was closed before a request",
            f"{GET}x-scopeway-target: closing\r\n\r\n",
        ),
        (
            503,
            "full cannot be reached: too many requests wait for it",
            f"{GET}x-scopeway-target: full\r\n\r\n",
        ),
        (
            400,
            "the Envoy of cloud-1 refused this; the access log of cloud-1's Envoy says why",
            f"{GET}a_b: what no Envoy of ours minds\r\n\r\n",
        ),
    ],
)
def test_each_cause_of_a_local_reply_has_its_sentence(
    envoy: tuple[Envoy, int], status: int, message: str, request_: str
) -> None:
    response = answer(envoy[1], request_)

    assert (response.status, response.error["code"]) == (status, status)
    assert response.error["message"] == message
    assert response.headers["x-scopeway-served-by"] == "cloud-1"


def test_a_silent_service_gives_a_504_with_a_sentence(
    envoy: tuple[Envoy, int], service: Echo
) -> None:
    service.raw = b"HTTP/1.1 200 OK\r\n"
    response = answer(envoy[1], f"{GET}x-scopeway-target: echo\r\n\r\n")

    assert (response.status, response.error["message"]) == (504, "no answer from echo in time")
