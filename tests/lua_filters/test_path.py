"""Parsing of request paths: the vectors."""

import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[1] / "vectors" / "paths"


def cases(name: str) -> Any:
    listed = json.loads((VECTORS / name).read_text())["cases"]
    return pytest.mark.parametrize("case", listed, ids=[case["why"] for case in listed])


@cases("dot_segments.json")
def test_dot_segments_are_found_as_the_vector_says(modules: Any, case: dict[str, Any]) -> None:
    assert modules["path"].has_dot_segment(case["path"]) is case["dots"]


@cases("methods.json")
def test_a_method_in_the_query_is_found_as_the_vector_says(
    modules: Any, case: dict[str, Any]
) -> None:
    assert modules["path"].names_method(case["path"]) is case["method"]


@cases("split.json")
def test_a_path_is_split_as_the_vector_says(modules: Any, case: dict[str, Any]) -> None:
    assert modules["path"].split(case["path"]) == (case["segment"], case["rest"])


@cases("scope.json")
def test_the_scope_is_removed_from_a_path_as_the_vector_says(
    modules: Any, case: dict[str, Any]
) -> None:
    taken = modules["path"].take_scope(case["path"])

    if case.get("refused"):
        assert taken[:3] == (None, None, None)
        assert "escape" in taken[3]
    elif case["scope"] is None:
        assert not taken
    else:
        assert taken == (case["scope"], case["rest"], case["prefix"])
