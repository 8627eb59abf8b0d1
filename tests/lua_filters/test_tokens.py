"""The scope in tokens and in the body of a login: the vectors."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

VECTORS = Path(__file__).parents[1] / "vectors" / "tokens"
STRINGS = st.text(st.characters(codec="ascii"), max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | STRINGS | st.just("t~1~image:b"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["auth", "identity", "token", "id", 'a"\\']), inner)
    ),
)


def cases(name: str) -> Any:
    listed = json.loads((VECTORS / name).read_text())["cases"]
    return pytest.mark.parametrize("case", listed, ids=[case["why"] for case in listed])


@cases("split.json")
def test_a_token_is_split_as_the_vector_says(modules: Any, case: dict[str, Any]) -> None:
    split = modules["tokens"].split(case["token"])

    if case.get("refused"):
        assert split[:2] == (None, None)
        assert "version 1" in split[2]
    elif case["scope"] is None:
        assert split == case["bare"]
    else:
        assert split == (case["bare"], case["scope"])


@cases("body.json")
def test_a_login_body_is_stripped_as_the_vector_says(modules: Any, case: dict[str, Any]) -> None:
    stripped = modules["token_body"].strip(case["body"])

    if case.get("refused"):
        assert stripped[:2] == (None, None)
        assert "version 1" in stripped[2]
        return
    sent, scope = (stripped, None) if isinstance(stripped, str) else stripped
    assert sent == case.get("sent", case["body"])
    assert scope == case["scope"]


@pytest.fixture(scope="module")
def strip(new_modules: Any) -> Any:
    return new_modules()["token_body"].strip


@given(document=JSON)
def test_stripping_a_login_body_changes_only_its_token(strip: Any, document: Any) -> None:
    """As a JSON parser reads it, for any document."""
    stripped = strip(json.dumps(document))
    sent = stripped if isinstance(stripped, str) else stripped[0]

    assert json.loads(sent) == expected(document)


def expected(document: Any) -> Any:
    match document:
        case {"auth": {"identity": {"token": {"id": "t~1~image:b"}}}}:
            copy = json.loads(json.dumps(document))
            copy["auth"]["identity"]["token"]["id"] = "t"
            return copy
    return document


def test_a_deeply_nested_login_body_is_unchanged(modules: Any) -> None:
    body = "[" * 60000 + '"~"'

    assert modules["token_body"].strip(body) in (body, (body, None))
