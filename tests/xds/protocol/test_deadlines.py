"""Deadlines by name."""

from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds.protocol.deadlines import Deadlines

NAMES = st.sampled_from("abcdef")


def test_names_are_due_in_the_order_of_their_deadlines() -> None:
    deadlines = Deadlines()
    deadlines.set("late", 3)
    deadlines.set("early", 1)

    assert deadlines.next_at == 1
    assert list(deadlines.pop_due(0.9)) == []
    assert list(deadlines.pop_due(3)) == ["early", "late"]
    assert deadlines.next_at is None


def test_a_name_may_get_a_new_deadline_while_names_are_popped() -> None:
    deadlines = Deadlines()
    deadlines.set("a", 1)
    deadlines.set("b", 2)
    popped = []
    for name in deadlines.pop_due(2):
        popped.append(name)
        deadlines.set(name, 3)

    assert popped == ["a", "b"]
    assert list(deadlines.pop_due(3)) == ["a", "b"]


def test_a_name_that_changes_all_the_time_takes_no_more_memory() -> None:
    changed, removed = Deadlines(), Deadlines()
    for at in range(10_000):
        changed.set("a", at)
        removed.set("a", at)
        removed.discard("a")

    assert len(changed._heap) < 100
    assert len(removed._heap) < 100
    assert changed.next_at == 9_999
    assert removed.next_at is None


@given(st.lists(st.tuples(NAMES, st.none() | st.integers(0, 9)), max_size=100), st.integers(0, 9))
def test_deadlines_are_a_dictionary_that_is_sorted_by_time(
    changes: list[tuple[str, int | None]], now: int
) -> None:
    deadlines, model = Deadlines(), dict[str, int]()
    for name, at in changes:
        if at is None:
            deadlines.discard(name)
            model.pop(name, None)
        else:
            deadlines.set(name, at)
            model[name] = at

        assert deadlines.next_at == min(model.values(), default=None)
        assert {each for each in "abcdef" if each in deadlines} == model.keys()
    due = sorted((at, name) for name, at in model.items() if at <= now)

    assert list(deadlines.pop_due(now)) == [name for _, name in due]
    assert {each for each in "abcdef" if each in deadlines} == {
        name for name, at in model.items() if at > now
    }
