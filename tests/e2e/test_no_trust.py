"""Sites that do not trust each other, with mutual TLS and policies, cannot reach each other.

cloud-2 lets cloud-1 use all services, and cloud-9 none; cloud-1 lets cloud-9 use all. cloud-9,
which runs any software at its site, tries everything of docs/abuse.md: through a front, at the
peer of cloud-2 with its own certificate, and by way of cloud-1. No service of cloud-2 gets a
request.
"""

import ssl
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.abuse import over_http2
from harness.fleet import Fleet
from harness.http import Connection
from harness.http2 import Headers
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

DATA = Path(__file__).parents[1] / "testdata" / "abuse.yaml"
GROUPS: dict[str, list[dict[str, Any]]] = yaml.safe_load(DATA.read_text())
FRAMES = [each for each in GROUPS["paths"] if not each["send"].startswith("http")] + GROUPS["http2"]
LINES = GROUPS["paths"] + GROUPS["http1"]
SERVICES = {"image": "glance", "compute": "nova", "identity": "keystone"}
SCOPE = ("x-scope", "{*:cloud-2}")
TOKEN = ("x-auth-token", "token~1~*:cloud-2")
CLAIMS: Headers = [
    (f"{prefix}{name}", value)
    for prefix in ("x-scopeway-", "x_scopeway_", "x-scopeway_", "x_scopeway-")
    for name, value in (
        ("origin", "cloud-1"),
        ("origin", "spiffe://fleet.test/cloud/cloud-1"),
        ("target", "image@cloud-2"),
        ("service", "image"),
        ("answer", "true"),
    )
] + [
    ("x-forwarded-client-cert", "URI=spiffe://fleet.test/cloud/cloud-1"),
    ("forwarded", "for=127.0.0.1"),
    ("x-forwarded-for", "127.0.0.1"),
    ("x-envoy-internal", "true"),
    ("x-envoy-original-path", "/image/v2"),
]


@pytest.fixture(scope="module")
def clouds(fleet: Fleet) -> dict[str, Cloud]:
    accepts = {"cloud-2": ["cloud-1"], "cloud-1": ["cloud-9"], "cloud-9": ["cloud-2"]}
    return {
        name: fleet.site(
            name,
            services={
                word: fleet.service(f"{service}-{name[-1]}") for word, service in SERVICES.items()
            },
            accept=[{"clouds": accepted}],
        )
        for name, accepted in accepts.items()
    }


@pytest.fixture
def stranger(fleet: Fleet, clouds: dict[str, Cloud]) -> Iterator[ssl.SSLContext]:
    """The certificate of cloud-9; nothing that cloud-2 has is asked for anything."""
    assert fleet.sites
    yield fleet.sites.client("cloud-9")
    assert {name: fleet.echo(f"{name}-2").requests for name in SERVICES.values()} == dict.fromkeys(
        SERVICES.values(), 0
    )


def front(clouds: dict[str, Cloud], name: str) -> int:
    at = clouds[name].front
    assert at
    return at.port


def peer(clouds: dict[str, Cloud], name: str) -> int:
    at = clouds[name].peer
    assert at
    return at.port


def frames(port: int, case: dict[str, Any], headers: Headers, **more: Any) -> str:
    """Send a case of the table over HTTP/2; return the status and who answered."""
    response = over_http2(port, case, headers, **more)
    if response is None:
        return "refused"
    by = response.json["name"] if response.status == 200 else ""
    return f"{response.status} {by}".strip()


def lines(port: int, text: str, **more: Any) -> list[str]:
    """Send bytes over HTTP/1.1; return the statuses that come back, and who answered."""
    found = []
    with Connection(port, **more) as connection:
        connection.socket.sendall(text.encode("latin-1"))
        connection.socket.settimeout(0.3)
        with suppress(TimeoutError, HTTPException, OSError):
            while True:
                response = connection.read()
                by = response.json["name"] if response.status == 200 else ""
                found.append(f"{response.status} {by}".strip())
    return found


def side_by_side(function: Callable[[Any], Any], values: Iterable[Any]) -> list[Any]:
    """Call a function for each value; Envoy takes a second to end a connection that it refuses."""
    with ThreadPoolExecutor(32) as pool:
        return list(pool.map(function, values))


def http_1(case: dict[str, Any], *headers: tuple[str, str]) -> str:
    """A case of the table as bytes of HTTP/1.1, with these headers."""
    block = "\r\n".join(f"{name}: {value}" for name, value in headers)
    if "what" in case:
        text = case["send"].replace("\n", "\r\n").replace("<LF>\r\n", "\n").replace("<HT>", "\t")
        return str(text.format(scope=block))
    lines = [f"{case.get('method', 'GET')} {case['send']} HTTP/1.1", "Host: a", block]
    return "\r\n".join([*filter(None, lines), "Connection: close", "", ""])


@pytest.mark.parametrize(
    "headers", [[], [SCOPE], [TOKEN], CLAIMS], ids=["nothing", "scope", "token", "claims"]
)
def test_hostile_requests_at_the_peer_of_a_site_that_denies_the_caller_reach_no_service(
    clouds: dict[str, Cloud], stranger: ssl.SSLContext, headers: Headers
) -> None:
    port = peer(clouds, "cloud-2")
    answers = side_by_side(lambda case: frames(port, case, headers, tls=stranger), FRAMES)

    assert set(answers) == {"400", "403", "404", "refused"}


def test_a_peer_does_not_answer_http_1_at_all(
    fleet: Fleet, clouds: dict[str, Cloud], stranger: ssl.SSLContext
) -> None:
    """So ambiguous HTTP/1.1 is no attack there, even with a trusted certificate."""
    assert fleet.sites
    trusted = fleet.sites.client("cloud-1")
    for context in (stranger, trusted):
        context.set_alpn_protocols(["http/1.1"])
    port = peer(clouds, "cloud-2")
    for context in (stranger, trusted):
        tried = partial(lines, port, tls=context)
        answers = side_by_side(tried, map(http_1, LINES))
        assert answers == [[]] * len(LINES)


@pytest.mark.parametrize("headers", [[SCOPE], [TOKEN]], ids=["scope", "token"])
def test_hostile_requests_at_a_front_reach_no_service_of_a_site_that_denies_the_caller(
    clouds: dict[str, Cloud], stranger: ssl.SSLContext, headers: Headers
) -> None:
    """Over HTTP/2 and over HTTP/1.1; what is not for cloud-2 may be answered at home."""
    port = front(clouds, "cloud-9")
    answers = set(side_by_side(lambda case: frames(port, case, headers), FRAMES))
    for each in side_by_side(lambda case: lines(port, http_1(case, *headers)), LINES):
        answers.update(each)

    assert "403" in answers
    assert {each for each in answers if each.startswith("200")} <= {
        f"200 {service}-9" for service in SERVICES.values()
    }


@pytest.mark.parametrize("headers", [[SCOPE], [TOKEN], CLAIMS], ids=["scope", "token", "claims"])
def test_hostile_requests_at_a_peer_reach_only_the_services_of_its_own_cloud(
    clouds: dict[str, Cloud], stranger: ssl.SSLContext, headers: Headers
) -> None:
    """A peer leads to the services of its own cloud, whatever the request says."""
    port = peer(clouds, "cloud-1")
    scopes = [
        {"send": path}
        for word in SERVICES
        for path in (f"/~{{*:cloud-2}}/{word}/v2", f"/{word}/~{{*:cloud-2}}/{word}/v2")
    ]
    answers = side_by_side(
        lambda case: frames(port, case, headers, tls=stranger), [*FRAMES, *scopes]
    )

    assert {each for each in answers if each.startswith("200")} == {
        f"200 {service}-1" for service in SERVICES.values()
    }
