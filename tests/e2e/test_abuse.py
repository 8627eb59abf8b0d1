"""Requests that try to reach another service or cloud than they may, each with the answer it gets.

The cases are in `testdata/abuse.yaml`, from which the table of docs/abuse.md is made
(`--rewrite`). cloud-2 lets cloud-1 use its image service and nothing else; a request at the front
has the scope `{image:cloud-2}`. It never reaches another service of cloud-2.
"""

from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPException
from typing import Any

import pytest

from harness.abuse import GROUPS, is_documented, over_http2, wire
from harness.fleet import Fleet
from harness.http import Connection, Response
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

SCOPE = ("x-scope", "{image:cloud-2}")

Case = dict[str, Any]
SERVICES = {"image": "glance", "compute": "nova", "identity": "keystone"}


def cases(group: str, *, http2: bool = False) -> Any:
    """Run a test for each case; for HTTP/2 without absolute URLs, a form that it doesn't have."""
    chosen = [each for each in GROUPS[group] if not (http2 and each["send"].startswith("http"))]
    return pytest.mark.parametrize("case", chosen, ids=lambda case: str(case["send"])[:60])


def services(fleet: Fleet, number: int) -> dict[str, Any]:
    return {word: fleet.service(f"{name}-{number}") for word, name in SERVICES.items()}


@pytest.fixture(scope="module")
def peer(fleet: Fleet) -> int:
    """The port of cloud-2's peer."""
    accept = [{"clouds": ["cloud-1"], "services": ["image"]}]
    cloud = fleet.site("cloud-2", services=services(fleet, 2), accept=accept)
    assert cloud.peer
    return cloud.peer.port


@pytest.fixture(scope="module")
def site(fleet: Fleet, peer: int) -> Cloud:
    return fleet.site("cloud-1", services=services(fleet, 1))


@pytest.fixture
def front(fleet: Fleet, site: Cloud) -> Iterator[int]:
    """The port of cloud-1's front."""
    assert site.front
    before = {name: fleet.echo(name).requests for name in ("nova-2", "keystone-2")}
    yield site.front.port
    assert {name: fleet.echo(name).requests for name in before} == before


def said(response: Response) -> str:
    """Return an answer as the table has it: the service, and what it was asked; or the status."""
    if response.status != 200:
        return str(response.status)
    asked = response.json
    return f"{asked['name']} {asked['method']} {asked['path']}"


def raw(port: int, text: str, expected: int) -> list[str]:
    """Send bytes over HTTP/1.1; return so many answers, and what else comes, if anything does."""
    with Connection(port) as connection:
        connection.socket.sendall(wire(text))
        answers = [said(connection.read()) for _ in range(expected)]
        connection.socket.settimeout(0.3)
        with suppress(TimeoutError, HTTPException, ConnectionError):
            answers.append(said(connection.read()))
    return answers


def frame(port: int, case: Case, tls: Any, *headers: tuple[str, str]) -> str:
    """Send a case over HTTP/2; return its answer as `said` does."""
    response = over_http2(port, case, headers, tls=tls)
    return "refused" if response is None else said(response)


@cases("paths")
def test_hostile_paths_at_the_front_over_http_1_get_the_documented_answer(
    front: int, case: Case
) -> None:
    with Connection(front) as connection:
        response = connection.send(case["send"], [SCOPE], method=case.get("method", "GET"))

    assert said(response) == case["front"]


@cases("paths", http2=True)
def test_hostile_paths_at_the_front_over_http_2_get_the_documented_answer(
    front: int, case: Case
) -> None:
    assert frame(front, case, None, SCOPE) == case.get("front2", case["front"])


@cases("paths", http2=True)
def test_hostile_paths_at_the_peer_get_the_documented_answer(
    fleet: Fleet, front: int, peer: int, case: Case
) -> None:
    assert fleet.sites
    assert frame(peer, case, fleet.sites.client("cloud-1")) == case["peer"]


@cases("http1")
def test_ambiguous_http_1_requests_get_the_documented_answer(front: int, case: Case) -> None:
    text = case["send"].format(scope=": ".join(SCOPE))

    answers = raw(front, text, len(case["front"]))
    assert answers == case["front"]


@cases("http2")
def test_ambiguous_http_2_frames_get_the_documented_answer(
    fleet: Fleet, front: int, peer: int, case: Case
) -> None:
    assert fleet.sites
    at_front = frame(front, case, None, SCOPE)
    at_peer = frame(peer, case, fleet.sites.client("cloud-1"))

    assert (at_front, at_peer) == (case["front"], case["peer"])


def test_the_documented_table_of_abuse_equals_the_tested_requests(rewrite: bool) -> None:
    assert is_documented("table", _rows(), rewrite=rewrite)


def _rows() -> Iterator[list[str]]:
    yield ["request", "at the front", "at the peer", ""]
    for case in GROUPS["paths"]:
        method = f"{case['method']} " if "method" in case else ""
        front = case["front"] + (f" (HTTP/2: {case['front2']})" if "front2" in case else "")
        yield [f"`{method}{case['send']}`", front, case.get("peer", ""), case.get("why", "")]
    for case in GROUPS["http1"]:
        answers = ", then ".join(case["front"]) or "closed"
        yield [case["what"], answers, "", case.get("why", "")]
    for case in GROUPS["http2"]:
        yield [case["what"], case["front"], case["peer"], case.get("why", "")]
