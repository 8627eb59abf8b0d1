"""Stalled requests do not block others, and their memory is bounded."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.fleet import Fleet
from harness.http import UnixConnection, send
from harness.services import at
from harness.stalled_requests import Clients, Service
from scopeway.control_plane.translator import http_connection_managers

MEGABYTE = 1 << 20
SCOPES = {
    "own": "",
    "peer": "{image:cloud-2}",
    "alternatives": "{image:cloud-2|cloud-1}",
}
FEW, MORE_THAN_ONE_CONNECTION_TAKES = 6, http_connection_managers.PEER_STREAMS + 22


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> Iterator[int]:
    service = Service(fleet.background)
    services = {"image": {"endpoints": [at(service.port)]}}
    fleet.site("cloud-2", services=services, accept=[{"clouds": ["cloud-1"]}])
    folder = fleet.collector_folder("cloud-1")
    cloud = fleet.site("cloud-1", services=services, collector=folder)
    assert cloud.front is not None
    yield cloud.front.port
    service.close()


@pytest.fixture(params=SCOPES)
def scope(request: pytest.FixtureRequest) -> list[tuple[str, str]]:
    text = SCOPES[request.param]
    return [("X-Scope", text)] if text else []


@pytest.fixture(params=["h1", "h2"])
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def others_are_served(front: int, scope: list[tuple[str, str]]) -> None:
    """An answer as large as the window of a stream, and a body as large."""
    size = 5 * MEGABYTE
    assert len(send(front, f"/image/{size}", scope, timeout=10).body) == size
    body = bytes(size)
    assert send(front, "/image/2", scope, method="PUT", body=body, timeout=10).status == 200


def allocated(fleet: Fleet, cloud: str) -> int:
    """What Envoy has allocated, in bytes; the resident set also has what it was given back."""
    return int(fleet.envoys[cloud].admin("/memory").json["allocated"])


def settled(fleet: Fleet) -> dict[str, int]:
    """What both Envoys have allocated, once it does not change any more."""
    last: list[dict[str, int]] = [{}]

    def steady() -> bool:
        before = last[0]
        time.sleep(0.1)
        last[0] = {cloud: allocated(fleet, cloud) for cloud in ("cloud-1", "cloud-2")}
        return all(abs(last[0][each] - before.get(each, 0)) < MEGABYTE for each in last[0])

    assert fleet.eventually(steady)
    return last[0]


def test_answers_that_no_client_reads_do_not_block_other_requests(
    fleet: Fleet, front: int, scope: list[tuple[str, str]], protocol: str
) -> None:
    with Clients(front, scope) as clients:
        clients.download("/image/endless", protocol, FEW)
        settled(fleet)
        others_are_served(front, scope)


def test_bodies_that_no_service_reads_do_not_block_other_requests(
    fleet: Fleet, front: int, scope: list[tuple[str, str]], protocol: str
) -> None:
    with Clients(front, scope) as clients:
        clients.upload("/image/deaf", protocol, FEW)
        settled(fleet)
        others_are_served(front, scope)


def test_more_unread_answers_than_one_connection_allows_do_not_block_other_requests(
    fleet: Fleet, front: int
) -> None:
    scope = [("X-Scope", SCOPES["peer"])]
    with Clients(front, scope) as clients:
        clients.download("/image/endless", "h2", MORE_THAN_ONE_CONNECTION_TAKES)
        others_are_served(front, scope)


@pytest.mark.parametrize(
    ("where", "protocol", "most"),
    [("own", "h2", 1.1), ("own", "h1", 0.5), ("peer", "h2", 5), ("peer", "h1", 5)],
)
def test_an_unread_answer_uses_bounded_memory(
    fleet: Fleet, front: int, where: str, protocol: str, most: float
) -> None:
    scope = [("X-Scope", SCOPES[where])] if SCOPES[where] else []
    others_are_served(front, scope)
    before = settled(fleet)
    count = 20
    with Clients(front, scope) as clients:
        clients.download("/image/endless", protocol, count)
        under_way = before["cloud-1"] + count * most / 4 * MEGABYTE
        # a busy machine may begin them after a while, in which nothing changes
        assert fleet.eventually(lambda: allocated(fleet, "cloud-1") > under_way)
        after = settled(fleet)
        grown = {cloud: (after[cloud] - before[cloud]) / MEGABYTE for cloud in before}
        assert all(each < count * most for each in grown.values()), grown


@pytest.mark.parametrize(("cloud", "most"), [("cloud-1", 0.6), ("cloud-2", 5)])
def test_an_answer_that_a_collector_does_not_read_uses_bounded_memory(
    fleet: Fleet, front: int, cloud: str, most: float
) -> None:
    head = f"GET /endless HTTP/1.1\r\nHost: x\r\nx-scopeway-target: image@{cloud}\r\n\r\n"
    before = settled(fleet)
    count = 20
    with ExitStack() as members:
        for _ in range(count):
            socket = fleet.folder / "collector-cloud-1" / "collect.sock"
            connection = members.enter_context(UnixConnection(socket))
            connection.socket.sendall(head.encode())
        under_way = before["cloud-1"] + count * 0.1 * MEGABYTE
        assert fleet.eventually(lambda: allocated(fleet, "cloud-1") > under_way)
        after = settled(fleet)
        grown = {each: (after[each] - before[each]) / MEGABYTE for each in before}
        assert all(each < count * most for each in grown.values()), grown
        others_are_served(front, [])
