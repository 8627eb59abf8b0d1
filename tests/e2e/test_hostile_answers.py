"""Ambiguous answers, by which a service tries to send more than one answer.

The cases are in `testdata/abuse.yaml`, from which the second table of docs/abuse.md is made
(`--rewrite`). Whatever the service sends, the next request on the same connections gets its own
answer.
"""

from collections.abc import Iterator
from http.client import BadStatusLine, IncompleteRead
from typing import Any

import pytest

from harness.abuse import GROUPS, is_documented, wire
from harness.fleet import Fleet, manifest
from harness.http import Connection, send

pytestmark = pytest.mark.fleet(certificates=True, closing=0.1)

ANYONE = [{"clouds": ["cloud-1"]}]

Case = dict[str, Any]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    """The port of cloud-1's front; cloud-2 has a peer, and cloud-3 no Envoy."""
    fleet.site("cloud-2", services={"image": fleet.service("glance-2")}, accept=ANYONE)
    fleet.control_plane.put(
        manifest("cloud-3", services={"image": fleet.service("glance-3")}, accept=ANYONE)
    )
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


def got(connection: Connection, scope: tuple[str, str], cloud: str) -> str:
    """Ask, and return what came as the table has it."""
    try:
        response = connection.send("/image/v2", [scope])
    except IncompleteRead:
        return "broken off"
    except BadStatusLine as error:
        return f"{error.line.split()[1]} ok"
    if response.status == 502:
        return "502"
    assert response.headers.get_all("x-scopeway-served-by") == [cloud]
    assert response.headers.get_all("x-request-id") != ["forged"]
    assert not {"x-subject-token", "set-cookie"} & {name.lower() for name in response.headers}
    return f"{response.status} {response.body.decode()}".strip()


@pytest.mark.parametrize("number", [1, 2, 3], ids=["own", "behind a peer", "without an Envoy"])
@pytest.mark.parametrize("case", GROUPS["answers"], ids=lambda case: case["what"])
def test_an_ambiguous_answer_of_a_service_gets_the_documented_result(
    fleet: Fleet, front: int, case: Case, number: int
) -> None:
    glance, scope = fleet.echo(f"glance-{number}"), ("X-Scope", f"{{image:cloud-{number}}}")
    wanted = case.get("peer", case["gets"]) if number == 2 else case["gets"]
    glance.raw = wire(case["send"])
    with Connection(front) as connection:
        answer = got(connection, scope, f"cloud-{number}")
        glance.raw = None
        goes_on = wanted != "broken off" and not wanted.startswith("1000")
        if goes_on:
            assert connection.send("/image/next", [scope]).json["path"] == "/next"

    assert answer == wanted
    assert send(front, "/image/other", [scope]).json["path"] == "/other"


def test_the_documented_table_of_answers_equals_the_tested_ones(rewrite: bool) -> None:
    assert is_documented("answers", _rows(), rewrite=rewrite)


def _rows() -> Iterator[list[str]]:
    yield ["answer", "what a client gets", "where a peer is between", ""]
    for case in GROUPS["answers"]:
        yield [case["what"], case["gets"], case.get("peer", "the same"), case.get("why", "")]
