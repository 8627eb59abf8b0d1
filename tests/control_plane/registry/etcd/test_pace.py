"""How often the changes of one entry are handed on."""

from scopeway.control_plane.registry.etcd.pace import LONGEST_REST, QUICK, REST, Pace


def test_of_an_entry_that_waits_the_last_change_counts() -> None:
    pace: Pace[int] = Pace()
    for number in range(1000):
        pace.add("a", number)
    pace.add("b", 1)

    assert pace.pause(0) == 0
    assert pace.take(0) == {"a": 999, "b": 1}
    assert pace.take(0) == {}
    assert pace.pause(0) is None


def test_an_entry_that_took_long_rests_and_no_other_waits_for_it() -> None:
    pace: Pace[int] = Pace()
    pace.took(["a"], 0.02, now=0)
    pace.add("a", 1)
    pace.add("b", 1)
    assert pace.take(0) == {"b": 1}
    assert pace.pause(0) == 0.02 * REST
    pace.add("a", 2)
    assert list(pace.waiting) == [2]
    assert pace.take(0.02 * REST) == {"a": 2}


def test_a_rest_has_an_end_and_what_is_quick_needs_none() -> None:
    pace: Pace[int] = Pace()
    pace.took(["a"], 1000, now=0)
    pace.took(["b"], QUICK, now=0)
    pace.took(["c", "d"], 2 * QUICK, now=0)
    for place in "abcd":
        pace.add(place, 1)
    assert set(pace.take(0)) == {"b", "c", "d"}
    assert pace.take(LONGEST_REST) == {"a": 1}
    assert not pace._rested
