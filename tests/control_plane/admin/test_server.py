"""The admin address over real HTTP."""

import json
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from email.message import Message
from io import BytesIO
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from harness import http
from harness.http import TIMEOUT, Connection, Response
from scopeway.control_plane.admin.answers import Answer, Page, text_answer
from scopeway.control_plane.admin.health import Health
from scopeway.control_plane.admin.pages import kept, metrics_page, status_page
from scopeway.control_plane.admin.server import MAX_CLIENTS, MAX_COMMAND, BadCommand, PageServer
from scopeway.control_plane.errors import ControlPlaneError


def send(port: int, path: str, headers: Sequence[tuple[str, str]] = (), **more: Any) -> Response:
    return http.send(port, path, headers, **{"host": f"127.0.0.1:{port}", **more})


class Told:
    """What the control plane behind the server says."""

    def __init__(self) -> None:
        self.status: Callable[[], Mapping[str, Any]] = lambda: {"clouds": 3}
        self.metrics = CollectorRegistry()
        self.health = Health()
        self.commands: list[Mapping[str, Any]] = []

    def __call__(self) -> Mapping[str, Any]:
        return self.status()

    def pages(self) -> Mapping[str, Page]:
        return {**self.health.pages(), **metrics_page(self.metrics), **status_page(self)}

    def peel(self, command: Mapping[str, Any]) -> Mapping[str, Any]:
        if command["peel"] < 0:
            raise BadCommand(f"{command['peel']} is no number of potatoes")
        self.commands.append(command)
        return {"peeled": command["peel"]}


def open_server(told: Told, host: str = "127.0.0.1", port: int = 0, **more: Any) -> PageServer:
    return PageServer((host, port), told.pages(), option="--admin-listen", **more)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def admin(told: Told) -> Iterator[PageServer]:
    with open_server(told, commands={"/potatoes": told.peel}) as server:
        yield server


def test_admin_address_is_healthy_at_once_and_ready_after_the_first_listing(
    admin: PageServer, told: Told
) -> None:
    before = send(admin.port, "/readyz")
    told.health.ready = True

    assert send(admin.port, "/healthz").status == 200
    assert (before.status, before.body) == (503, b"the registry has not been listed yet\n")
    assert send(admin.port, "/readyz?verbose").status == 200


@pytest.mark.parametrize("path", ["/healthz", "/metrics", "/status", "/nothing"])
def test_every_response_has_a_content_length(admin: PageServer, path: str) -> None:
    response = send(admin.port, path)

    assert response.headers["content-length"] == str(len(response.body))


def test_readyz_fails_and_healthz_succeeds_while_the_control_plane_is_leaving(
    admin: PageServer, told: Told
) -> None:
    told.health.ready = told.health.leaving = True
    response = send(admin.port, "/readyz")

    assert (response.status, response.body) == (503, b"this control plane is leaving\n")
    assert send(admin.port, "/healthz").status == 200


def test_metrics_page_shows_the_registry_of_the_server(admin: PageServer, told: Told) -> None:
    Counter("potatoes", "Peeled.", registry=told.metrics).inc(7)
    response = send(admin.port, "/metrics")

    assert response.status == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert b"potatoes_total 7.0" in response.body


def test_the_status_page_is_json(admin: PageServer) -> None:
    response = send(admin.port, "/status")

    assert response.headers["content-type"] == "application/json"
    assert json.loads(response.body) == {"clouds": 3}


def test_status_is_a_503_while_the_control_plane_is_too_busy(admin: PageServer, told: Told) -> None:
    def status() -> Mapping[str, Any]:
        raise TimeoutError

    told.status = status

    assert send(admin.port, "/status").status == 503
    assert send(admin.port, "/healthz").status == 200


def test_an_unknown_path_is_a_404_that_names_the_known_paths(admin: PageServer) -> None:
    response = send(admin.port, "/")

    assert (response.status, b"/healthz" in response.body) == (404, True)


def test_a_server_of_one_page_answers_nothing_else(told: Told) -> None:
    with PageServer(("127.0.0.1", 0), told.health.pages(), option="--health-listen") as health:
        others = [send(health.port, path) for path in ("/metrics", "/status", "/", "/healthz/")]
        posted = send(health.port, "/release", JSON, method="POST", body=b"{}")

        assert send(health.port, "/healthz").status == 200
    assert {each.status for each in (*others, posted)} == {404}
    assert others[0].body == b"try /healthz, /readyz\n"


@pytest.mark.parametrize("path", ["/healthz", "/nothing", "/" + "x" * 100_000])
def test_no_answer_tells_the_versions_of_what_runs(admin: PageServer, path: str) -> None:
    with Connection(admin.port) as connection:
        connection.socket.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        response = connection.read()

    assert response.headers["server"] == "scopeway"
    assert b"Python" not in response.body


def test_a_head_request_gets_the_status_and_length_of_the_page(
    admin: PageServer, told: Told
) -> None:
    """Some load balancers ask so."""
    with Connection(admin.port) as connection:
        connection.socket.sendall(b"HEAD /readyz HTTP/1.0\r\n\r\n")
        head = connection.socket.recv(65_536)
        rest = connection.socket.recv(1)

    assert head.startswith(b"HTTP/1.0 503 ")
    assert b"Content-Length: 37\r\n" in head
    assert (head.partition(b"\r\n\r\n")[2], rest) == (b"", b"")


def test_a_kept_page_is_made_once_a_second() -> None:
    now, made = [0.0], list[float]()

    def page() -> Answer:
        made.append(now[0])
        return text_answer(200, f"{now[0]}")

    answer = kept(page, clock=lambda: now[0])
    bodies = []
    for now[0] in (0.0, 0.9, 1.0, 1.5, 2.0):
        bodies.append(answer()[2])

    assert made == [0.0, 1.0, 2.0]
    assert bodies == [b"0.0\n", b"0.0\n", b"1.0\n", b"1.0\n", b"2.0\n"]


def test_a_silent_client_does_not_block_other_clients(admin: PageServer) -> None:
    with Connection(admin.port):
        assert send(admin.port, "/healthz").status == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:18002", 200),
        ("127.0.0.1", 200),
        ("10.0.0.1:18002", 200),
        ("[::1]:18002", 200),
        ("[::1]", 200),
        ("localhost:18002", 200),
        ("LocalHost", 200),
        ("evil.example:18002", 421),
        ("evil.example", 421),
        ("127.0.0.1.evil.example", 421),
        ("localhost.evil.example:1", 421),
        ("127.0.0.1:18002.evil.example", 421),
        ("", 421),
    ],
)
@pytest.mark.parametrize("path", ["/status", "/metrics"])
def test_a_host_header_with_a_name_reads_no_page_on_loopback(
    admin: PageServer, path: str, host: str, status: int
) -> None:
    response = send(admin.port, path, host=host)

    assert response.status == status
    assert (b"clouds" in response.body) == (path == "/status" and status == 200)


def test_a_request_without_a_host_header_is_answered(admin: PageServer) -> None:
    with Connection(admin.port) as connection:
        connection.socket.sendall(b"GET /status HTTP/1.0\r\n\r\n")

        assert connection.read().status == 200


def test_any_host_header_is_allowed_beyond_loopback(told: Told) -> None:
    with open_server(told, "0.0.0.0") as server:
        assert send(server.port, "/status", host="prometheus.example:18002").status == 200


def test_silent_clients_use_a_bounded_number_of_threads_and_are_closed_for_new_ones(
    admin: PageServer,
) -> None:
    before = set(threading.enumerate())
    with ExitStack() as stack:
        silent = [stack.enter_context(Connection(admin.port)) for _ in range(MAX_CLIENTS + 9)]

        assert send(admin.port, "/healthz").status == 200
        assert len(set(threading.enumerate()) - before) <= MAX_CLIENTS
        assert [each.socket.recv(1) for each in silent[:10]] == [b""] * 10
        assert [each.socket.send(b"GET /healthz HTTP/1.0\r\n\r\n") for each in silent[10:]]
        assert all(each.read().status == 200 for each in silent[10:])


def test_concurrent_requests_are_answered_and_the_one_above_the_limit_is_closed(
    admin: PageServer, told: Told
) -> None:
    """A thread that works on an answer cannot be ended: one more client is."""
    go, working = threading.Event(), threading.Semaphore(0)

    def status() -> Mapping[str, Any]:
        working.release()
        assert go.wait(TIMEOUT)
        return {}

    told.status = status
    with ExitStack() as stack:
        clients = [stack.enter_context(Connection(admin.port)) for _ in range(MAX_CLIENTS)]
        for each in clients:
            each.socket.sendall(b"GET /status HTTP/1.0\r\n\r\n")
        assert all(working.acquire(timeout=TIMEOUT) for _ in clients)
        one_more = stack.enter_context(Connection(admin.port))

        with suppress(ConnectionError):
            one_more.socket.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert one_more.socket.recv(1) == b""
        go.set()
        assert all(each.read().status == 200 for each in clients[1:])
    assert send(admin.port, "/healthz").status == 200


def test_a_closed_server_frees_its_port(told: Told) -> None:
    with open_server(told) as first:
        pass
    with open_server(told, port=first.port) as second:
        pass

    assert second.port == first.port


def test_admin_server_listens_on_ipv6(told: Told) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    with (
        open_server(told, "::1") as server,
        socket.create_connection(("::1", server.port), timeout=10) as client,
    ):
        client.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")

        assert client.recv(100).startswith(b"HTTP/1.0 200 ")


@pytest.mark.parametrize("host", ["127.0.0.1", "nowhere.invalid"])
def test_an_address_that_cannot_be_bound_is_an_error_of_one_sentence(
    admin: PageServer, told: Told, host: str
) -> None:
    with pytest.raises(ControlPlaneError) as raised:
        open_server(told, host, admin.port)

    assert str(raised.value).startswith(f"cannot listen on {host}:{admin.port}: ")
    assert str(raised.value).endswith(" (--admin-listen)")


JSON = [("Content-Type", "application/json")]


def post(
    admin: PageServer,
    body: bytes = b'{"peel": 3}',
    headers: Sequence[tuple[str, str]] = JSON,
    path: str = "/potatoes",
) -> Response:
    return send(admin.port, path, headers, method="POST", body=body)


def test_a_command_receives_a_json_object_and_answers_with_one(
    admin: PageServer, told: Told
) -> None:
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
def test_a_web_page_cannot_post_a_command(
    admin: PageServer, told: Told, headers: list[tuple[str, str]], status: int
) -> None:
    assert post(admin, headers=headers).status == status
    assert told.commands == []


def test_a_command_with_a_host_name_is_refused(admin: PageServer, told: Told) -> None:
    body, host = b'{"peel": 3}', "evil.example"
    response = send(admin.port, "/potatoes", JSON, method="POST", body=body, host=host)

    assert (response.status, told.commands) == (403, [])


def test_a_cors_preflight_request_is_refused(admin: PageServer) -> None:
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
def test_a_malformed_command_is_refused_with_the_reason(
    admin: PageServer, body: bytes, status: int, words: bytes
) -> None:
    response = post(admin, body)

    assert response.status == status
    assert words in response.body


def test_commands_need_post_and_pages_do_not_accept_it(admin: PageServer) -> None:
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
def test_commands_are_accepted_from_the_same_machine_only(
    admin: PageServer, client: str, status: int
) -> None:
    body = b'{"peel": 3}'
    headers = Message()
    headers["content-type"], headers["content-length"] = "application/json", str(len(body))

    assert admin.take("/potatoes", client, headers, BytesIO(body))[0] == status
