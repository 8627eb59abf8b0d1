"""What a replica publishes, and when."""

import asyncio
from collections.abc import Iterable

import pytest

from fake_api_server import FakeApi
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.status_writer.connected_clouds import (
    ReplicaClouds,
    Replicas,
    decode,
)
from scopeway.control_plane.status_writer.publication import Publication, Publisher
from scopeway.control_plane.status_writer.times import StatusTimes

TIMES = StatusTimes()
KEEP, REST, RENEW = TIMES.keep, TIMES.rest, TIMES.renew


def clouds(keys: Iterable[int], too_large: Iterable[int] = ()) -> ReplicaClouds:
    return ReplicaClouds(frozenset(keys), frozenset(too_large))


def test_the_first_clouds_are_published_at_once_even_if_there_are_none() -> None:
    publication = Publication(TIMES)

    assert publication.due(clouds([]), 0) == clouds([])
    publication.written(clouds([]), 0)
    assert publication.due(clouds([]), 100) is None


def test_changes_are_gathered_for_some_seconds() -> None:
    publication = Publication(TIMES)
    publication.written(clouds([]), 0)

    assert publication.due(clouds([1]), REST - 0.1) is None
    assert publication.due(clouds([1, 2]), REST) == clouds([1, 2])


def test_an_envoy_that_reconnects_is_no_change() -> None:
    publication = Publication(TIMES)
    publication.due(clouds([1, 2], [2]), 0)
    publication.written(clouds([1, 2], [2]), 0)

    assert publication.due(clouds([]), 20) is None
    assert publication.due(clouds([1, 2], [2]), 20 + KEEP - 1) is None
    assert publication.due(clouds([1, 2], [2]), 100) is None


def test_an_envoy_that_stays_away_is_taken_out() -> None:
    publication = Publication(TIMES)
    publication.due(clouds([1, 2]), 0)
    publication.written(clouds([1, 2]), 0)
    publication.due(clouds([2]), 20)

    assert publication.due(clouds([2]), 20 + KEEP) == clouds([2])


class Replica:
    """A publisher with a clock of its own."""

    def __init__(self) -> None:
        self.api = FakeApi()
        self.now = 0.0
        self.clouds = clouds([1])
        self.publisher = Publisher(
            self.api, "here", "replica-1", lambda: self.clouds, times=TIMES, clock=lambda: self.now
        )

    def step(self, after: float) -> list[str]:
        self.now += after
        self.api.calls.clear()
        asyncio.run(self.publisher.step())
        return [call.split("/")[0].strip() + " " + call.split("/")[-2] for call in self.api.calls]

    def published(self) -> ReplicaClouds | None:
        (found,) = [one for at, one in self.api.objects.items() if "configmaps" in at]
        return decode(found)

    def leases(self) -> list[dict[str, object]]:
        return [one for at, one in self.api.objects.items() if "leases" in at]


def test_an_idle_replica_writes_nothing_but_its_lease() -> None:
    replica = Replica()

    assert replica.step(0) == ["create configmaps", "create leases"]
    assert replica.published() == clouds([1])
    assert replica.step(RENEW / 2) == []
    assert replica.step(RENEW / 2) == ["update leases"]
    assert replica.step(RENEW) == ["update leases"]


def test_the_lease_tells_the_leader_that_the_clouds_are_others() -> None:
    replica, leader = Replica(), Replicas(TIMES.dead_after)
    replica.step(0)
    leader.observe(replica.leases(), 0)
    for name, told in leader.to_read().items():
        leader.read(name, told, clouds([1]))
    replica.step(RENEW)
    leader.observe(replica.leases(), 0)
    assert leader.to_read() == {}
    replica.clouds = clouds([1, 2])

    assert replica.step(REST) == ["update configmaps", "update leases"]
    leader.observe(replica.leases(), 0)
    assert len(leader.to_read()) == 1


def test_objects_that_somebody_has_deleted_are_made_again() -> None:
    replica = Replica()
    replica.step(0)
    replica.api.objects.clear()
    replica.clouds = clouds([1, 2])
    replica.step(REST)

    assert replica.published() == clouds([1, 2])
    assert len(replica.leases()) == 1


def test_a_replica_that_was_taken_for_dead_publishes_all_again() -> None:
    replica = Replica()
    replica.step(0)
    replica.api.objects.clear()  # it was suspended, and the leader has deleted its objects
    replica.step(100)
    replica.step(0.5)

    assert replica.published() == clouds([1])
    assert replica.step(0.5) == []


def test_what_could_not_be_written_is_written_later() -> None:
    replica = Replica()
    replica.api.failures["create /apis/coordination"] = ApiError("busy", code=500)
    with pytest.raises(ApiError):
        replica.step(0)
    replica.api.failures.clear()
    replica.step(5)

    assert len(replica.leases()) == 1


def test_a_replica_that_ends_leaves_nothing() -> None:
    replica = Replica()
    replica.step(0)
    asyncio.run(replica.publisher.withdraw())

    assert replica.api.objects == {}
