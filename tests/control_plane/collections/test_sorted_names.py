from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.collections import sorted_names

NAMES = st.text("abc", max_size=3)


@given(st.lists(st.tuples(st.booleans(), NAMES)))
def test_sorted_names_equal_a_sorted_set(steps: list[tuple[bool, str]]) -> None:
    names, model = sorted_names.EMPTY, set[str]()
    for adding, name in steps:
        names = (sorted_names.add if adding else sorted_names.remove)(names, name)
        (model.add if adding else model.discard)(name)

    assert list(sorted_names.in_order(names)) == sorted(model)
    assert all(names)


def test_sorted_names_stay_sorted_in_small_blocks() -> None:
    everything = [f"{number * 7919 % 10_007:05}" for number in range(10_007)]
    names = sorted_names.EMPTY
    for name in everything:
        names = sorted_names.add(names, name)

    assert list(sorted_names.in_order(names)) == sorted(everything)
    assert max(map(len, names)) <= sorted_names.BLOCK


def test_adding_a_known_name_or_removing_an_unknown_one_returns_the_same_names() -> None:
    names = sorted_names.add(sorted_names.EMPTY, "a")

    assert sorted_names.add(names, "a") is names
    assert sorted_names.remove(names, "b") is names
