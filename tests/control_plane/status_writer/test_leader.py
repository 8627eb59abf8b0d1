"""The rules of the election: model checks with clocks that differ and writes that race."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scopeway.control_plane.status_writer.leader import (
    Election,
    ElectionTimes,
    Write,
    micro_time,
)

Document = dict[str, Any]


class Server:
    """One Lease with optimistic concurrency."""

    def __init__(self) -> None:
        self.lease: Document | None = None
        self.version = 0
        self.writes = 0

    def write(self, write: Write) -> Document | None:
        """Return the new Lease; None at a conflict."""
        there = None if self.lease is None else self.lease["metadata"]["resourceVersion"]
        if write.create != (self.lease is None):
            return None
        if not write.create and write.document["metadata"]["resourceVersion"] != there:
            return None
        self.version += 1
        self.writes += 1
        metadata = {**write.document["metadata"], "resourceVersion": str(self.version)}
        self.lease = {**write.document, "metadata": metadata}
        return self.lease


def attempt(election: Election, server: Server, now: float) -> bool:
    """Read and write once; return whether it leads."""
    write = election.next_write(server.lease, now, wall=now)
    if write is not None and (lease := server.write(write)) is not None:
        election.written(lease, now)
    return election.is_leader(now)


def test_the_first_candidate_leads_and_the_second_waits() -> None:
    server, one, two = Server(), Election("one"), Election("two")

    assert attempt(one, server, 0)
    assert not attempt(two, server, 0)
    assert two.holder() == "one"


def test_a_leader_that_renews_stays() -> None:
    server, one, two = Server(), Election("one"), Election("two")

    for now in range(0, 100, 2):
        assert attempt(one, server, now)
        assert not attempt(two, server, now)
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 0
    assert server.lease["spec"]["acquireTime"] == micro_time(0)


def test_a_leader_that_ends_in_silence_is_followed_after_the_lease_duration() -> None:
    server, one, two = Server(), Election("one"), Election("two")
    attempt(one, server, 0)

    assert not attempt(two, server, 1)
    assert not attempt(two, server, 15.9)
    assert attempt(two, server, 16)
    assert server.lease is not None
    assert server.lease["spec"]["leaseTransitions"] == 1


def test_a_count_of_transitions_that_can_grow_no_more_begins_anew() -> None:
    """Kubernetes' field has 32 bits. Anyone who may write the Lease could end status for ever."""
    server, one, two = Server(), Election("one"), Election("two")
    attempt(one, server, 0)
    assert server.lease is not None
    server.lease["spec"]["leaseTransitions"] = 2**31 - 1
    attempt(two, server, 0)

    assert attempt(two, server, 16)
    assert server.lease["spec"]["leaseTransitions"] == 0


def test_a_leader_leads_no_longer_than_the_renew_deadline() -> None:
    server, one = Server(), Election("one")
    attempt(one, server, 0)

    assert one.is_leader(9.9)
    assert not one.is_leader(10)


def test_the_time_that_a_lease_states_is_not_believed() -> None:
    server, one, two = Server(), Election("one"), Election("two")
    write = one.next_write(None, 0, wall=0)  # its clock is 56 years behind
    assert write is not None
    lease = server.write(write)
    assert lease is not None

    assert two.next_write(lease, 1000, wall=1.8e9) is None


def test_a_released_lease_is_taken_at_once() -> None:
    server, one, two = Server(), Election("one"), Election("two")
    attempt(one, server, 0)
    attempt(two, server, 1)
    release = one.next_release(wall=2)
    assert release is not None
    server.write(release)

    assert not one.is_leader(2)
    assert attempt(two, server, 2)


def test_only_the_holder_releases() -> None:
    server, one, two = Server(), Election("one"), Election("two")
    assert two.next_release(wall=0) is None
    attempt(one, server, 0)
    attempt(two, server, 1)

    assert two.next_release(wall=1) is None


def test_of_two_writes_at_once_one_wins() -> None:
    server, one, two = Server(), Election("one"), Election("two")
    first, second = one.next_write(None, 0, wall=0), two.next_write(None, 0, wall=0)
    assert first is not None
    assert second is not None

    assert server.write(first) is not None
    assert server.write(second) is None


def test_a_lease_without_holder_or_spec_is_taken() -> None:
    server, one = Server(), Election("one")
    server.lease = {"metadata": {"name": "scopeway-status", "resourceVersion": "0"}}

    assert attempt(one, server, 0)


def test_an_absurd_duration_of_another_holder_is_respected_for_a_minute() -> None:
    server, one = Server(), Election("one")
    spec = {"holderIdentity": "x", "leaseDurationSeconds": 10**9}
    server.lease = {"metadata": {"resourceVersion": "0"}, "spec": spec}

    assert not attempt(one, server, 0)
    assert not attempt(one, server, 59)
    assert attempt(one, server, 60)


def test_the_metadata_of_others_is_kept() -> None:
    server, one = Server(), Election("one")
    server.lease = {"metadata": {"resourceVersion": "0", "labels": {"a": "b"}, "uid": "u"}}
    attempt(one, server, 0)

    assert server.lease["metadata"]["labels"] == {"a": "b"}
    assert server.lease["metadata"]["uid"] == "u"


@settings(max_examples=300)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 6), st.booleans(), st.booleans()), max_size=80
    )
)
def test_there_are_never_two_leaders_by_any_schedule(
    steps: list[tuple[int, float, bool, bool]],
) -> None:
    """Reads may be old by the time of the write, and answers may be lost."""
    times = ElectionTimes()
    server, now = Server(), 0.0
    candidates = [Election(name, times) for name in "abc"]
    for index, pause, answer_lost, released in steps:
        now += pause
        election = candidates[index]
        if released and (release := election.next_release(wall=now)) is not None:
            server.write(release)
            continue
        write = election.next_write(server.lease, now, wall=0)
        if write is not None and (lease := server.write(write)) is not None and not answer_lost:
            election.written(lease, now)
        assert sum(each.is_leader(now) for each in candidates) <= 1
