"""The number of connections of an Envoy is limited."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Connection, send
from harness.services import at
from scopeway.control_plane.translator.bootstrap import bootstrap, resource_monitor

MOST = 3


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    """The port of the front of cloud-1, whose Envoy takes three connections."""
    port = fleet.free_port()
    fleet.control_plane.put(
        manifest("cloud-1", front=at(port), services={"image": fleet.service("glance-1")}),
    )
    config = bootstrap(
        cloud="cloud-1", xds=[("127.0.0.1", fleet.control_plane.port)], admin=("127.0.0.1", 0)
    )
    monitor = resource_monitor(config, "global_downstream_max_connections")
    monitor["max_active_downstream_connections"] = MOST
    fleet.run_envoy("cloud-1", config).wait_ready()
    return port


OPEN, TURNED_AWAY = (
    f"listener.front.downstream_{name}" for name in ("cx_active", "global_cx_overflow")
)


def count(fleet: Fleet, stat: str) -> int:
    return fleet.envoys["cloud-1"].stats(stat)[stat]


@pytest.fixture
def taken(fleet: Fleet, front: int) -> Iterator[list[Connection]]:
    """As many connections as it takes, each in use."""
    assert fleet.eventually(lambda: count(fleet, OPEN) == 0)
    with ExitStack() as closing:
        connections = [closing.enter_context(Connection(front)) for _ in range(MOST)]
        assert [each.send("/image/").status for each in connections] == [200] * MOST
        yield connections


def test_a_connection_above_the_limit_is_closed_and_the_others_continue(
    fleet: Fleet, front: int, taken: list[Connection]
) -> None:
    before = count(fleet, TURNED_AWAY)
    with pytest.raises(ConnectionError):
        send(front, "/image/")

    assert count(fleet, TURNED_AWAY) == before + 1
    assert [each.send("/image/").status for each in taken] == [200] * MOST


def test_internal_and_admin_connections_do_not_count_towards_the_limit(
    fleet: Fleet, taken: list[Connection]
) -> None:
    """Otherwise, full connections would also block alternatives, rejections and probes."""
    either, unknown = (
        taken[0].send("/image/", [("X-Scope", f"{{image:{clouds}}}")])
        for clouds in ("cloud-9|cloud-1", "cloud-9")
    )

    assert (either.status, unknown.status) == (200, 404)
    assert unknown.error["message"] == "no cloud is named cloud-9"
    assert fleet.envoys["cloud-1"].admin("/ready").status == 200


def test_a_closed_connection_makes_room_for_another(
    fleet: Fleet, front: int, taken: list[Connection]
) -> None:
    taken[0].__exit__()
    assert fleet.eventually(lambda: count(fleet, OPEN) == MOST - 1)

    assert send(front, "/image/").status == 200
