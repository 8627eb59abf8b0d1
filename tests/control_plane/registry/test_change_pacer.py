"""How often changes of one entry are passed on."""

from scopeway.control_plane.registry.change_pacer import (
    MAX_REST_SECONDS,
    QUICK_SECONDS,
    REST_FACTOR,
    ChangePacer,
)


def test_the_pacer_hands_on_the_last_change_of_a_waiting_entry() -> None:
    pacer: ChangePacer[int] = ChangePacer()
    for number in range(1000):
        pacer.add("a", number)
    pacer.add("b", 1)

    assert pacer.seconds_until_due(0) == 0
    assert pacer.take_due(0) == {"a": 999, "b": 1}
    assert pacer.take_due(0) == {}
    assert pacer.seconds_until_due(0) is None


def test_the_pacer_rests_an_expensive_entry_without_delaying_others() -> None:
    pacer: ChangePacer[int] = ChangePacer()
    pacer.record_cost(["a"], 0.02, now=0)
    pacer.add("a", 1)
    pacer.add("b", 1)
    assert pacer.take_due(0) == {"b": 1}
    assert pacer.seconds_until_due(0) == 0.02 * REST_FACTOR
    pacer.add("a", 2)
    assert list(pacer.waiting) == [2]
    assert pacer.take_due(0.02 * REST_FACTOR) == {"a": 2}


def test_the_pacer_limits_a_rest_and_rests_no_cheap_entry() -> None:
    pacer: ChangePacer[int] = ChangePacer()
    pacer.record_cost(["a"], 1000, now=0)
    pacer.record_cost(["b"], QUICK_SECONDS, now=0)
    pacer.record_cost(["c", "d"], 2 * QUICK_SECONDS, now=0)
    for place in "abcd":
        pacer.add(place, 1)
    assert set(pacer.take_due(0)) == {"b", "c", "d"}
    assert pacer.take_due(MAX_REST_SECONDS) == {"a": 1}
    assert not pacer._resting_until
