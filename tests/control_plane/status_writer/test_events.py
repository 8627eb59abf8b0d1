"""The Events for refusals, and how many there may be."""

from scopeway.control_plane.status_writer.events import (
    MAX_INSTANCE,
    MAX_NOTE,
    TokenBucket,
    refusal,
)


def event(**changes: object) -> dict[str, object]:
    told = {
        "kind": "EdgeCloud",
        "name": "cloud-1",
        "uid": "u",
        "generation": 3,
        "reason": "Invalid",
        "message": "spec.peer.port: 0 is not 1 to 65535",
        "replica": "replica-1",
        "wall": 0.0,
    }
    return refusal(**{**told, **changes})  # type: ignore[arg-type]


def name(found: dict[str, object]) -> object:
    metadata = found["metadata"]
    assert isinstance(metadata, dict)
    return metadata["name"]


def test_an_event_regards_the_object_that_is_refused() -> None:
    found = event()

    assert found["regarding"] == {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "name": "cloud-1",
        "uid": "u",
    }
    assert found["reason"] == "Invalid"
    assert found["type"] == "Warning"
    assert found["note"] == "spec.peer.port: 0 is not 1 to 65535"


def test_one_refused_generation_has_one_name_at_every_replica_and_time() -> None:
    assert name(event()) == name(event(replica="replica-2", wall=99.0, message="other words"))
    assert name(event()) != name(event(generation=4))
    assert name(event()) != name(event(uid="another"))


def test_the_texts_of_an_event_are_bounded_in_the_units_of_kubernetes() -> None:
    found = event(message="ü" * 5000, replica="r" * 500)

    assert len(str(found["note"]).encode()) <= MAX_NOTE
    assert len(str(found["reportingInstance"])) == MAX_INSTANCE


def test_a_bucket_gives_a_burst_and_then_so_many_a_second() -> None:
    bucket = TokenBucket(per_second=2, burst=3)

    assert [bucket.take(0) for _ in range(4)] == [True, True, True, False]
    assert bucket.take(0.5)
    assert not bucket.take(0.6)
    assert [bucket.take(100) for _ in range(4)] == [True, True, True, False]


def test_what_is_reserved_has_to_wait_for_its_turn() -> None:
    bucket = TokenBucket(per_second=2, burst=1)

    assert [bucket.reserve(0) for _ in range(4)] == [0, 0.5, 1.0, 1.5]
    assert not bucket.take(1.9)
    assert bucket.take(2.6)
