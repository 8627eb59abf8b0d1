"""Long lists in messages are shortened."""

import pytest

from scopeway.control_plane.collections.listing import listed


@pytest.mark.parametrize(
    ("texts", "total", "separator", "expected"),
    [
        ([], None, ", ", ""),
        (["a", "b"], None, ", ", "a, b"),
        (["a", "b", "c"], None, ", ", "a, b and 1 more"),
        (["a", "b", "c"], 10, ", ", "a, b and 8 more"),
        (["a", "b"], 3, "; ", "a; b; and 1 more"),
    ],
)
def test_a_listing_names_the_first_entries_and_counts_the_others(
    texts: list[str], total: int | None, separator: str, expected: str
) -> None:
    assert listed(texts, 2, total=total, separator=separator) == expected
