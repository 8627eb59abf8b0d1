"""The multimap."""

from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds.multimap import Index

KEYS, VALUES = st.sampled_from("ab"), st.integers(0, 11)


@given(st.lists(st.tuples(st.sampled_from([True, True, False]), KEYS, VALUES), max_size=60))
def test_index_holds_added_values_that_were_not_discarded(
    steps: list[tuple[bool, str, int]],
) -> None:
    index: Index[str, int] = Index()
    model: dict[str, set[int]] = {"a": set(), "b": set()}
    for add, key, value in steps:
        if add:
            index.add(key, value)
            model[key].add(value)
        else:
            index.discard(key, value)
            model[key].discard(value)

        assert {each: set(index.get(each)) for each in "ab"} == model
        assert len(index) == sum(map(bool, model.values()))
