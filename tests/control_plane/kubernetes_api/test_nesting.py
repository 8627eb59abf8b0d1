import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.kubernetes_api.nesting import flatten

DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.text(max_size=3) | st.sampled_from(['"', "\\", '[{"', "]}"]),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=2), below),
)


def without_depths(document: Any, most: int) -> Any:
    if not isinstance(document, list | dict):
        return document
    if not most:
        return "nested too deep"
    if isinstance(document, list):
        return [without_depths(each, most - 1) for each in document]
    return {key: without_depths(each, most - 1) for key, each in document.items()}


@given(DOCUMENTS, st.integers(1, 4))
def test_lists_and_objects_below_the_levels_that_are_kept_become_a_text(
    document: Any, most: int
) -> None:
    found = flatten(json.dumps(document, ensure_ascii=False).encode(), most)

    assert json.loads(found) == without_depths(document, most)


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}")])
def test_ten_thousand_levels_are_flattened(begin: bytes, end: bytes) -> None:
    found = flatten(begin * 10_000 + b"1" + end * 10_000, 2)

    assert found == begin * 2 + b'"nested too deep"' + end * 2


def test_a_text_that_ends_too_early_is_not_made_valid() -> None:
    with pytest.raises(ValueError, match="Expecting"):
        json.loads(flatten(b"[" * 5, 2))
