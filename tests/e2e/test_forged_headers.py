"""Headers that only Scopeway may set, in every spelling that Envoy lets through."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from harness.fleet import Fleet
from harness.http import Connection, Response, send
from harness.http2 import Headers, Refused, send2
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

OURS = [
    *("target", "service", "answer", "origin", "status", "reason", "unsent", "served-by"),
    *("honoured", "rejected", "anything"),
]
CLIENTS = [
    "auth-token",
    "subject-token",
    "service-token",
    "scope",
    "forwarded-host",
    "forwarded-prefix",
]


def spellings(name: str) -> list[str]:
    """Every way to write a name that WSGI would read as the same, that with hyphens first."""
    words = name.split("-")
    signs = itertools.product("-_", repeat=len(words) - 1)
    return ["".join(map("".join, zip(words, [*each, ""], strict=True))) for each in signs]


SPELLINGS = [
    *(spelling for name in OURS for spelling in spellings(f"x-scopeway-{name}")),
    *(spelling for name in CLIENTS for spelling in spellings(f"x-{name}")[1:]),
    *("x-envoy-original-path", "x-envoy-retry-on", "x-envoy-upstream-alt-stat-name"),
    *("x-envoy-internal", "x-envoy-expected-rq-timeout-ms", "x_envoy_internal"),
]
HALVES = (SPELLINGS[::2], SPELLINGS[1::2])
"""Of as many headers as a request may have."""
CLAIM = "compute@cloud-2"
SCOPE = ("x-scope", "{image:cloud-2}")


@pytest.fixture(scope="module")
def peer(fleet: Fleet) -> int:
    services = {"image": fleet.service("glance-2"), "compute": fleet.service("nova-2")}
    accept = [{"clouds": ["cloud-1"], "services": ["image"]}]
    cloud = fleet.site("cloud-2", services=services, accept=accept)
    assert cloud.peer
    return cloud.peer.port


@pytest.fixture(scope="module")
def site(fleet: Fleet, peer: int) -> Cloud:
    return fleet.site("cloud-1", services={"image": fleet.service("glance-1")})


@pytest.fixture
def front(fleet: Fleet, site: Cloud) -> Iterator[int]:
    """The port of cloud-1's front; cloud-2's compute is never reached."""
    assert site.front
    yield site.front.port
    assert fleet.echo("nova-2").requests == 0


def check(response: Response, where: str = "glance-2", origin: str = "cloud-1") -> None:
    """Nothing that was claimed has reached the service, nor decided which one it is."""
    assert response.status == 200, response.body
    assert response.json["name"] == where
    headers = response.json["headers"]
    assert CLAIM not in str(headers)
    assert [value for name, value in headers if name == "x-scopeway-origin"] == [origin]
    assert "_" not in "".join(name for name, _ in headers)
    assert not [name for name, _ in headers if name.startswith("x-envoy-")]


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("spell", [str, str.title, str.upper])
def test_forged_headers_at_the_front_over_http_1_have_no_effect(
    front: int, spell: Any, times: int
) -> None:
    for some in HALVES:
        forged = [(spell(name), CLAIM) for name in some] * times

        check(send(front, "/image/v2", [SCOPE, *forged]))
        check(send(front, "/image/v2", [*forged, ("Connection", "close")]), "glance-1")


@pytest.mark.parametrize("times", [1, 3])
def test_forged_headers_at_the_front_over_http_2_have_no_effect(front: int, times: int) -> None:
    for some in HALVES:
        forged = [(name, CLAIM) for name in some] * times

        check(send2(front, "/image/v2", [SCOPE, *forged]))
        check(send2(front, "/image/v2", forged), "glance-1")


@pytest.mark.parametrize("times", [1, 3])
def test_forged_headers_at_the_peer_have_no_effect(
    fleet: Fleet, front: int, peer: int, times: int
) -> None:
    assert fleet.sites
    for some in HALVES:
        forged = [(name, CLAIM) for name in some] * times

        check(send2(peer, "/image/v2", forged, tls=fleet.sites.client("cloud-1")))
    stranger = send2(
        peer, "/image/v2", [("x-scopeway-origin", "cloud-1")], tls=fleet.sites.client("cloud-9")
    )
    assert stranger.status == 403


@pytest.mark.parametrize("name", ["X-Scopeway-Target", "x-scopeway-target ", "x-scopeway\ttarget"])
def test_invalid_header_names_reset_the_stream(
    fleet: Fleet, front: int, peer: int, name: str
) -> None:
    assert fleet.sites
    for port, tls in ((front, None), (peer, fleet.sites.client("cloud-1"))):
        with pytest.raises(Refused):
            send2(port, "/image/v2", [SCOPE, (name, CLAIM)], tls=tls)


@pytest.mark.parametrize("line", ["X-Scopeway-Target : a", "X-Scopeway-Target\t: a", " X-A: a"])
def test_malformed_header_lines_are_refused(front: int, line: str) -> None:
    with Connection(front) as connection:
        request = f"GET /image/v2 HTTP/1.1\r\n{line}\r\nHost: a\r\n\r\n"
        connection.socket.sendall(request.encode())

        assert connection.read().status == 400


@pytest.mark.parametrize(
    "named", ["x-scopeway-origin", "X-Scopeway-Target", "x-forwarded-prefix", "x-scope", "via"]
)
def test_a_connection_header_cannot_remove_the_headers_of_a_hop(front: int, named: str) -> None:
    """A client cannot make a hop remove what the hop before has set; of its own it can."""
    headers = [SCOPE, ("Connection", f"close, {named}"), ("X-Auth-Token", "t")]
    response = send(front, "/image/v2", headers, host="a.example")
    if response.status == 400:
        assert "connection_header_rejected" in response.error["message"]
        return

    check(response, "glance-1" if named == "x-scope" else "glance-2")
    got = dict(response.json["headers"])
    assert got["x-forwarded-host"] == "a.example"
    assert got["x-forwarded-prefix"] == "/image"
    assert "cloud-1.scopeway" in got["via"]


TRAILERS: Headers = [
    ("x-scopeway-target", CLAIM),
    ("x-scopeway-origin", "cloud-9"),
    ("x-auth-token", CLAIM),
    ("x-scope", "{image:cloud-9}"),
]


def test_trailers_are_not_read_as_headers_of_a_request(fleet: Fleet, front: int, peer: int) -> None:
    assert fleet.sites
    tls = fleet.sites.client("cloud-1")
    more: dict[str, Any] = {"method": "POST", "body": b"body", "trailers": TRAILERS}
    answers = [
        send2(front, "/image/v2", [SCOPE], **more),
        send2(peer, "/image/v2", tls=tls, **more),
    ]
    with Connection(front) as connection:
        lines = "".join(f"{name}: {value}\r\n" for name, value in TRAILERS)
        connection.socket.sendall(
            f"POST /image/v2 HTTP/1.1\r\nHost: a\r\n{': '.join(SCOPE)}\r\n"
            f"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n{lines}\r\n".encode()
        )
        answers.append(connection.read())

    for answer in answers:
        check(answer)
        assert answer.json["length"] == 4
        assert "trailer" not in str(answer.json["headers"]).lower()
