"""Bodies of logins: refused if they exceed 64 KiB or take too long.

Envoy does all of this before Lua reads the body. The time limit is shortened here.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamReset

from harness.fleet import Fleet
from harness.http import Connection, Response, send
from harness.limits import shortened
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator import route_templates

MAX = route_templates.MAX_LOGIN
WITHIN = timedelta(seconds=1.2)
ONE_LETTER = 0.05
FRAME = 16384
TOKENS = "/identity/v3/auth/tokens"
SPELLINGS = [
    TOKENS,
    f"{TOKENS}?a=b",
    f"{TOKENS}?a=/../b#",
    "/~{image:cloud-1}/identity/v3/auth/tokens",
    "/~%7Bimage:cloud-1%7D/identity/v3/auth/tokens?x",
    "/~{image:cloud-1%7c%2f}/identity/v3/auth/tokens",
]
ONLY_KEYSTONE = ["/v3/auth/tokens", "/v3/auth/tokens?a", "/~{image:cloud-1}/v3/auth/tokens"]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder: Path = tmp_path_factory.mktemp("fleet")
    with shortened(LOGIN_BODY_WITHIN=WITHIN):
        fleet = Fleet(folder)
        try:
            yield fleet
        finally:
            fleet.close()


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Cloud:
    services = {name: fleet.service(name) for name in ("identity", "image")}
    return fleet.site("cloud-1", ports=("identity",), services=services)


def ports(site: Cloud, path: str) -> tuple[int, str]:
    assert site.front
    return (site.front.port if "identity" in path else site.front.ports["identity"]), path


def message(response: Response) -> str:
    return str(response.error["message"])


class TestHttp1:
    @pytest.mark.parametrize("chunked", [False, True])
    @pytest.mark.parametrize("path", SPELLINGS + ONLY_KEYSTONE)
    def test_a_login_above_the_limit_over_http_1_is_a_413(
        self, fleet: Fleet, site: Cloud, path: str, chunked: bool
    ) -> None:
        keystone = fleet.echo("identity")
        before = keystone.received
        body = b"x" * (MAX + 1)
        port, path = ports(site, path)
        answer = send(port, path, method="POST", body=iter([body]) if chunked else body)

        if answer.status == 400:  # a scope, or a path, that is refused anyhow
            assert any(each in path for each in ("%2f", "#"))
            return
        assert answer.status == 413
        assert f"a login has at most {MAX} bytes" in message(answer)
        assert answer.headers["x-scopeway-rejected"] == "true"
        assert keystone.received == before

    @pytest.mark.parametrize("path", ["/identity/v3/auth/tokens", "/v3/auth/tokens"])
    def test_a_login_of_the_maximum_length_is_forwarded(
        self, fleet: Fleet, site: Cloud, path: str
    ) -> None:
        port, path = ports(site, path)
        answer = send(port, path, method="POST", body=iter([b"x" * 1000, b"x" * (MAX - 1000)]))

        assert (answer.status, answer.json["length"]) == (200, MAX)

    @pytest.mark.parametrize(
        ("path", "head"),
        [
            (TOKENS, "Content-Length: 100"),
            ("/~{image:cloud-1}/identity/v3/auth/tokens?a", "Transfer-Encoding: chunked"),
        ],
    )
    def test_a_login_that_never_ends_is_a_408(
        self, fleet: Fleet, site: Cloud, path: str, head: str
    ) -> None:
        """A letter now and then doesn't prolong it."""
        port, path = ports(site, path)
        with Connection(port) as connection:
            connection.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode())
            letter = b"1\r\n{\r\n" if "chunked" in head else b"{"
            connection.socket.settimeout(ONE_LETTER)
            for _ in range(60):
                connection.socket.sendall(letter)
                try:
                    answered = connection.socket.recv(1, socket.MSG_PEEK)
                except TimeoutError:
                    continue
                assert answered
                break
            connection.socket.settimeout(5)
            answer = connection.read("POST")

        assert answer.status == 408
        assert f"a login has to be there within {WITHIN.total_seconds():g} seconds" in message(
            answer
        )

    @pytest.mark.parametrize(
        ("method", "path"),
        [("PUT", TOKENS), ("POST", "/identity/v3/users"), ("POST", "/image/v3/auth/tokens")],
    )
    def test_other_bodies_are_not_limited(self, site: Cloud, method: str, path: str) -> None:
        port, path = ports(site, path)
        answer = send(port, path, method=method, body=b"x" * (4 * MAX))

        assert (answer.status, answer.json["length"]) == (200, 4 * MAX)

    @pytest.mark.parametrize(
        "path",
        ["/identity//v3/auth/tokens", "/identity/v3/auth/%74okens", "/identity/v3/auth/tokens/"],
    )
    def test_bodies_of_paths_that_the_lua_does_not_read_are_streamed(
        self, fleet: Fleet, site: Cloud, path: str
    ) -> None:
        """Keystone gets the body of such a path as it comes, and says itself what it is."""
        keystone = fleet.echo("identity")
        before = keystone.received
        port, path = ports(site, path)
        with Connection(port) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Length: 999999\r\n\r\n"
            connection.socket.sendall(head.encode() + b"x" * 2 * MAX)

            assert fleet.eventually(lambda: keystone.received == before + 2 * MAX)


class TestHttp2:
    def test_a_login_above_the_limit_over_http_2_is_a_413_and_uses_no_more_memory(
        self, fleet: Fleet, site: Cloud
    ) -> None:
        """A hundred streams of one connection, each with a MiB, beside an honest client."""
        assert site.front
        envoy = fleet.envoys["cloud-1"]
        with Connection(site.front.port) as honest:
            honest.send(TOKENS, method="POST", body=b"{}")
            before = envoy.memory()
            statuses, sent = endless(site.front.port, streams=100, size=16 * MAX)
            assert honest.send(TOKENS, method="POST", body=b"{}").status == 200

        assert statuses == [413] * 100
        assert sent >= 100 * MAX
        assert envoy.peak_memory() - before < 100 * 2 * MAX


def endless(port: int, *, streams: int, size: int) -> tuple[list[int], int]:
    """Begin logins that don't end, and send as much of each as may be.

    Returns:
        Their statuses, and how many bytes were sent.
    """
    state = H2Connection(H2Configuration(header_encoding="utf-8"))
    state.initiate_connection()
    head = [(":method", "POST"), (":scheme", "http"), (":authority", "a"), (":path", TOKENS)]
    numbers = range(1, 2 * streams, 2)
    for each in numbers:
        state.send_headers(each, head)
    left, sent, statuses = dict.fromkeys(numbers, size), 0, list[int]()
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        while len(statuses) < streams:
            before = sent
            for each in left:
                room = min(state.local_flow_control_window(each), left[each], FRAME)
                if room > 0:
                    state.send_data(each, b"x" * room)
                    left[each] -= room
                    sent += room
            connection.sendall(state.data_to_send())
            # with nothing more to send, wait for an answer
            connection.settimeout(5 if sent == before else 0)
            with suppress(BlockingIOError):
                for event in state.receive_data(connection.recv(1 << 16)):
                    if isinstance(event, ResponseReceived):
                        statuses.append(int(dict(event.headers)[":status"]))
                    elif isinstance(event, StreamReset):
                        left.pop(event.stream_id, None)
            connection.settimeout(5)
    return statuses, sent
