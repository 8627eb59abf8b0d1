"""The admin address over real HTTP."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from email.message import Message
from io import BytesIO
from typing import Any

import pytest
from harness.http import Connection, Response, send
from prometheus_client import CollectorRegistry, Counter

from control_plane.admin import MAX_COMMAND, AdminServer, BadCommand
from control_plane.errors import ControlPlaneError


class Told:
    """What the control plane behind the server says."""

    def __init__(self) -> None:
        self.status: Callable[[], Mapping[str, Any]] = lambda: {"clouds": 3}
        self.metrics = CollectorRegistry()
        self.commands: list[Mapping[str, Any]] = []

    def __call__(self) -> Mapping[str, Any]:
        return self.status()

    def peel(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        if command["peel"] < 0:
            raise BadCommand(f"{command['peel']} is no number of potatoes")
        self.commands.append(command)
        return {"peeled": command["peel"]}


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def admin(told: Told) -> Iterator[AdminServer]:
    server = AdminServer(
        ("127.0.0.1", 0), registry=told.metrics, status=told, commands={"/potatoes": told.peel}
    )
    server.start()
    yield server
    server.close()


def test_it_is_healthy_at_once_and_ready_when_it_is_told(admin: AdminServer) -> None:
    before = send(admin.port, "/readyz")
    admin.ready = True

    assert send(admin.port, "/healthz").status == 200
    assert (before.status, before.body) == (503, b"the registry has not been listed yet\n")
    assert send(admin.port, "/readyz?verbose").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/status", "/nothing"])
def test_an_answer_says_its_length_so_that_half_of_one_is_noticed(
    admin: AdminServer, path: str
) -> None:
    response = send(admin.port, path)

    assert response.headers["content-length"] == str(len(response.body))


def test_it_is_alive_but_not_ready_when_it_leaves(admin: AdminServer) -> None:
    admin.ready = admin.leaving = True
    response = send(admin.port, "/readyz")

    assert (response.status, response.body) == (503, b"this control plane is leaving\n")
    assert send(admin.port, "/healthz").status == 200


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


JSON = [("Content-Type", "application/json")]


def post(
    admin: AdminServer,
    body: bytes = b'{"peel": 3}',
    headers: Sequence[tuple[str, str]] = JSON,
    path: str = "/potatoes",
) -> Response:
    return send(admin.port, path, headers, method="POST", body=body)


def test_a_command_gets_its_object_and_answers_with_one(admin: AdminServer, told: Told) -> None:
    response = post(admin, headers=[("Content-Type", "application/json; charset=utf-8")])

    assert (response.status, response.json) == (200, {"peeled": 3})
    assert told.commands == [{"peel": 3}]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        # what a page that some browser on this machine shows can send to any address
        ([("Content-Type", "text/plain")], 415),
        ([("Content-Type", "application/x-www-form-urlencoded")], 415),
        ([], 415),
        ([*JSON, ("Origin", "http://evil.example")], 403),
        ([*JSON, ("Origin", "null")], 403),
        ([*JSON, ("Sec-Fetch-Site", "same-origin")], 403),
    ],
)
def test_a_web_page_can_give_no_command(
    admin: AdminServer, told: Told, headers: list[tuple[str, str]], status: int
) -> None:
    assert post(admin, headers=headers).status == status
    assert told.commands == []


def test_a_browser_that_asks_first_is_not_told_yes(admin: AdminServer) -> None:
    asks = [("Origin", "http://evil.example"), ("Access-Control-Request-Method", "POST")]
    response = send(admin.port, "/potatoes", asks, method="OPTIONS")

    assert response.status == 501
    assert response.headers["access-control-allow-origin"] is None


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"", 411, b"Content-Length"),
        (b"{", 400, b"not JSON"),
        (b"[" * 100_000, 400, b"not JSON"),
        (b"7", 400, b"not an object"),
        (b'{"peel": -1}', 400, b"-1 is no number of potatoes"),
        (b" " * (MAX_COMMAND + 1), 413, b"at most"),
    ],
)
def test_a_bad_command_is_refused_in_words(
    admin: AdminServer, body: bytes, status: int, words: bytes
) -> None:
    response = post(admin, body)

    assert response.status == status
    assert words in response.body


def test_a_command_is_posted_and_others_do_not_exist(admin: AdminServer) -> None:
    assert send(admin.port, "/potatoes").status == 405
    assert post(admin, path="/status").status == 404


@pytest.mark.parametrize(
    ("client", "status"),
    [
        ("127.0.0.7", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.1", 403),
        ("::ffff:10.0.0.1", 403),
        ("fe80::1%lo", 403),
    ],
)
def test_commands_come_from_this_machine_only(admin: AdminServer, client: str, status: int) -> None:
    body = b'{"peel": 3}'
    headers = Message()
    headers["content-type"], headers["content-length"] = "application/json", str(len(body))

    assert admin.take("/potatoes", client, headers, BytesIO(body))[0] == status
