"""What a replica publishes of its clouds, and what the leader makes of it."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.status_writer.connected_clouds import (
    DIGEST,
    MAX_CLOUDS,
    MAX_REPLICAS,
    PREFIX,
    ReplicaClouds,
    Replicas,
    cloud_key,
    clouds_of,
    decode,
    digest,
    encode,
)
from scopeway.control_plane.status_writer.times import StatusTimes

DEAD_AFTER = StatusTimes().dead_after


def lease(name: str, version: int, told: str = "x") -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"{PREFIX}{name}",
            "resourceVersion": str(version),
            "annotations": {DIGEST: told},
        }
    }


@given(st.sets(st.text(max_size=63)), st.sets(st.text(max_size=63)))
def test_what_is_published_is_what_is_read(connected: set[str], too_large: set[str]) -> None:
    clouds = clouds_of(connected, too_large & connected)

    assert decode({"binaryData": encode(clouds)}) == clouds
    assert clouds.connected == {cloud_key(name) for name in connected}


def test_the_size_does_not_depend_on_the_names_and_has_a_bound() -> None:
    names = [f"{'x' * 50}-{number}" for number in range(MAX_CLOUDS + 100)]
    data = encode(clouds_of(names, names))

    assert len(json.dumps(data)) < 1_500_000
    clouds = decode({"binaryData": data})
    assert clouds is not None
    assert len(clouds.connected) == MAX_CLOUDS


def test_what_is_no_object_of_a_replica_is_none() -> None:
    good = encode(ReplicaClouds(frozenset({1})))
    for bad in (
        {},
        {"binaryData": None},
        {"binaryData": {}},
        {"binaryData": {**good, "connected": "%%%"}},
        {"binaryData": {**good, "connected": "AAAA"}},
        {"binaryData": {**good, "connected": 5}},
        {"binaryData": {**good, "policy-too-large": "A" * (MAX_CLOUDS * 11)}},
    ):
        assert decode(bad) is None


def test_the_digest_follows_the_clouds() -> None:
    one, two = encode(clouds_of(["a"], [])), encode(clouds_of(["a"], ["a"]))

    assert digest(one) == digest(encode(clouds_of(["a"], [])))
    assert digest(one) != digest(two)


def test_clouds_of_all_replicas_count() -> None:
    replicas = Replicas(DEAD_AFTER)
    assert replicas.observe([lease("a", 1), lease("b", 2)], 0) == []
    assert set(replicas.to_read()) == {f"{PREFIX}a", f"{PREFIX}b"}
    replicas.read(f"{PREFIX}a", "x", clouds_of(["one"], []))
    replicas.read(f"{PREFIX}b", "x", clouds_of(["two"], ["two"]))

    assert replicas.to_read() == {}
    assert replicas.clouds() == clouds_of(["one", "two"], ["two"])


def test_a_replica_is_read_again_only_if_it_tells_other_clouds() -> None:
    replicas = Replicas(DEAD_AFTER)
    replicas.observe([lease("a", 1)], 0)
    replicas.read(f"{PREFIX}a", "x", ReplicaClouds())
    replicas.observe([lease("a", 2)], 10)
    assert replicas.to_read() == {}
    replicas.observe([lease("a", 3, "y")], 20)

    assert replicas.to_read() == {f"{PREFIX}a": "y"}


def test_a_replica_that_does_not_renew_its_lease_is_dead() -> None:
    replicas = Replicas(DEAD_AFTER)
    replicas.observe([lease("a", 1), lease("b", 1)], 0)
    for name in ("a", "b"):
        replicas.read(f"{PREFIX}{name}", "x", clouds_of([name], []))

    assert replicas.observe([lease("a", 1), lease("b", 5)], DEAD_AFTER - 1) == []
    assert replicas.observe([lease("a", 1), lease("b", 5)], DEAD_AFTER) == [f"{PREFIX}a"]
    assert replicas.clouds() == clouds_of(["b"], [])


def test_a_replica_whose_lease_goes_is_forgotten() -> None:
    replicas = Replicas(DEAD_AFTER)
    replicas.observe([lease("a", 1)], 0)
    replicas.read(f"{PREFIX}a", "x", clouds_of(["one"], []))
    replicas.observe([], 2)

    assert replicas.clouds() == ReplicaClouds()


def test_leases_of_others_are_none_of_replicas() -> None:
    replicas = Replicas(DEAD_AFTER)
    other = {"metadata": {"name": "scopeway-status", "resourceVersion": "1"}}

    assert replicas.observe([other], 0) == []
    assert replicas.observe([other], 10 * DEAD_AFTER) == []
    assert replicas.to_read() == {}


def test_replicas_that_are_read_are_limited() -> None:
    replicas = Replicas(DEAD_AFTER)
    replicas.observe([lease(str(each), 1) for each in range(MAX_REPLICAS + 5)], 0)

    assert len(replicas.to_read()) == MAX_REPLICAS
