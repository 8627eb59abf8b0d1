"""The conditions of an object, and whether they have to be written."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.status_writer.conditions import (
    MAX_MESSAGE,
    Connection,
    Verdict,
    conditions_of_cloud,
    conditions_of_other,
    is_told,
    is_true,
    to_write,
)

NOW, LATER = "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"
OTHER = {
    "type": "example.org/Reviewed",
    "status": "True",
    "lastTransitionTime": NOW,
    "reason": "Reviewed",
    "message": "",
}


def written(
    verdict: Verdict,
    connection: Connection = Connection.ABSENT,
    *,
    current: list[dict[str, Any]] | None = None,
    generation: int = 1,
    now: str = NOW,
) -> list[dict[str, Any]] | None:
    before = current or []
    wanted = conditions_of_cloud(verdict, connection, current=before, generation=generation)
    return to_write(before, wanted, generation=generation, now=now)


def short(conditions: list[dict[str, Any]] | None) -> dict[str, str]:
    assert conditions is not None
    return {each["type"]: f"{each['status']} {each['reason']}" for each in conditions}


def test_a_good_cloud_without_an_envoy_is_accepted_and_not_connected() -> None:
    assert short(written(Verdict())) == {
        "Accepted": "True Accepted",
        "ResolvedRefs": "True ResolvedRefs",
        "EnvoyConnected": "False NotConnected",
    }


def test_each_condition_names_the_generation_that_it_is_about() -> None:
    conditions = written(Verdict(), generation=7)

    assert conditions is not None
    assert {each["observedGeneration"] for each in conditions} == {7}


def test_a_refused_cloud_is_not_accepted_and_says_why() -> None:
    conditions = written(Verdict(problem="spec.peer.port: 0 is not 1 to 65535"))

    assert conditions is not None
    assert conditions[0]["reason"] == "Invalid"
    assert conditions[0]["status"] == "False"
    assert conditions[0]["message"] == "spec.peer.port: 0 is not 1 to 65535"


def test_what_a_refused_generation_names_is_not_judged() -> None:
    before = written(Verdict(undeclared=["sensor"]))
    after = written(Verdict(problem="bad"), current=before, generation=2, now=LATER)

    assert after is not None
    refs = [each for each in after if each["type"] == "ResolvedRefs"]
    assert before is not None
    assert refs == [each for each in before if each["type"] == "ResolvedRefs"]
    assert "ResolvedRefs" not in short(written(Verdict(problem="bad")))


def test_service_types_that_are_not_declared_are_named_in_order() -> None:
    conditions = written(Verdict(undeclared=["sensor", "camera"]))

    assert conditions is not None
    refs = conditions[1]
    assert (refs["type"], refs["status"]) == ("ResolvedRefs", "False")
    assert refs["message"] == "not served until a ServiceType declares them: camera, sensor"


def test_a_cloud_without_listeners_expects_no_envoy() -> None:
    assert short(written(Verdict(has_listeners=False)))["EnvoyConnected"] == "False NoListeners"


def test_an_object_that_conflicts_with_another_says_so() -> None:
    wanted = conditions_of_other(Verdict(problem="'a' is an alias, too", conflict=True))
    conditions = to_write([], wanted, generation=1, now=NOW)

    assert short(conditions) == {"Accepted": "False Conflicted"}


def test_what_is_right_is_not_written_again() -> None:
    before = written(Verdict(), Connection.CONNECTED)

    assert written(Verdict(), Connection.CONNECTED, current=before, now=LATER) is None
    assert written(Verdict(), Connection.LEFT, current=before, now=LATER) is None
    assert written(Verdict(), Connection.UNKNOWN, current=before, now=LATER) is None


def test_the_transition_time_changes_only_with_the_status() -> None:
    before = written(Verdict())
    after = written(
        Verdict(problem="bad"), Connection.ABSENT, current=before, generation=2, now=LATER
    )

    assert after is not None
    times = {each["type"]: each["lastTransitionTime"] for each in after}
    assert times == {"Accepted": LATER, "ResolvedRefs": NOW, "EnvoyConnected": NOW}


def test_a_new_generation_is_written_though_nothing_else_changes() -> None:
    before = written(Verdict())
    after = written(Verdict(), current=before, generation=2, now=LATER)

    assert after is not None
    assert {each["lastTransitionTime"] for each in after} == {NOW}


def test_conditions_of_others_are_neither_written_nor_compared() -> None:
    before = [OTHER, *(written(Verdict()) or [])]

    assert written(Verdict(), current=before) is None
    after = written(Verdict(problem="bad"), current=before)
    assert after is not None
    assert OTHER not in after


def test_a_connection_that_is_not_known_yet_is_left_out_or_left_alone() -> None:
    assert "EnvoyConnected" not in short(written(Verdict(), Connection.UNKNOWN))
    assert short(written(Verdict(), Connection.LEFT))["EnvoyConnected"] == "False NotConnected"
    connected = written(Verdict(), Connection.CONNECTED)
    kept = written(Verdict(), Connection.UNKNOWN, current=connected, generation=2)
    assert short(kept)["EnvoyConnected"] == "True Connected"


def test_a_policy_that_is_too_large_stays_told_while_no_envoy_asks() -> None:
    before = written(Verdict(policy_too_large=True), Connection.CONNECTED)

    assert short(before)["Accepted"] == "False PolicyTooLarge"
    unknown = Verdict(policy_too_large=None)
    assert written(unknown, Connection.LEFT, current=before) is None
    again = written(Verdict(), Connection.CONNECTED, current=before)
    assert short(again)["Accepted"] == "True Accepted"
    newer = written(unknown, Connection.LEFT, current=before, generation=2)
    assert short(newer)["Accepted"] == "True Accepted"


def test_a_message_is_bounded_and_printable() -> None:
    conditions = written(Verdict(problem="\x1b[31m" + "x" * 10_000))

    assert conditions is not None
    message = conditions[0]["message"]
    assert len(message) <= MAX_MESSAGE
    assert message.isprintable()


def test_many_undeclared_service_types_are_counted() -> None:
    conditions = written(Verdict(undeclared=[f"type-{each:02}" for each in range(50)]))

    assert conditions is not None
    assert conditions[1]["message"].endswith("type-09 and 40 more")


def test_what_a_condition_has_told_is_known() -> None:
    wanted = conditions_of_other(Verdict(problem="bad"))
    told = to_write([], wanted, generation=3, now=NOW) or []

    assert is_told(told, wanted[0], 3)
    assert not is_told(told, wanted[0], 4)
    assert not is_told([], wanted[0], 3)
    assert not is_true(told, "Accepted")


verdicts = st.builds(
    Verdict,
    problem=st.none() | st.text(max_size=20),
    conflict=st.booleans(),
    undeclared=st.lists(st.sampled_from(["a", "b"]), unique=True),
    has_listeners=st.booleans(),
    policy_too_large=st.none() | st.booleans(),
)
foreign = st.lists(
    st.fixed_dictionaries(
        {
            "type": st.sampled_from(["Accepted", "EnvoyConnected", "Other"]),
            "status": st.sampled_from(["True", "False", "Unknown"]),
        },
        optional={"message": st.text(max_size=5), "lastTransitionTime": st.just(NOW)},
    ),
    unique_by=lambda each: each["type"],
)


@pytest.mark.parametrize("now", [NOW, LATER])
@given(verdict=verdicts, connection=st.sampled_from(Connection), current=foreign)
def test_what_was_written_is_never_written_again(
    now: str, verdict: Verdict, connection: Connection, current: list[dict[str, Any]]
) -> None:
    after = written(verdict, connection, current=current)
    if after is None:
        return
    assert written(verdict, connection, current=after, now=now) is None
