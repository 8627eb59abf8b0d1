"""What is suggested for a word that names no service: the vectors of Python, and what it costs."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lua_envoy import SERVICES

VECTORS = Path(__file__).parents[1] / "vectors" / "scope" / "suggestions.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789._-"
WORDS = st.binary(max_size=45).map(lambda data: data.decode("latin-1"))


def edits(word: str) -> set[str]:
    """Every word that one edit makes of it."""
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    return {
        *(before + more + behind for before, behind in cuts for more in CHARACTERS),
        *(before + behind[1:] for before, behind in cuts if behind),
        *(before + more + behind[1:] for before, behind in cuts if behind for more in CHARACTERS),
        *(before + behind[1] + behind[0] + behind[2:] for before, behind in cuts if behind[1:]),
    }


@pytest.fixture(scope="module")
def suggestion(new_modules: Any) -> Any:
    return new_modules()["suggestion"].suggestion


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["why"])
def test_the_suggestion_in_lua_for_a_vector_is_as_expected(
    suggestion: Any, case: dict[str, Any]
) -> None:
    assert suggestion(case["word"]) == case["suggestion"]


def test_words_of_declared_service_types_are_suggested_by_lua(new_modules: Any) -> None:
    words = {**SERVICES, "sensor": "sensor", "sensoz": "sensor"}

    assert new_modules(services=words)["suggestion"].suggestion("sensr") == "sensor"
    assert new_modules(services=words)["suggestion"].suggestion("senso1") == "sensor"


@given(st.data())
def test_the_suggestion_in_lua_is_the_first_word_that_one_edit_makes(
    suggestion: Any, data: st.DataObject
) -> None:
    word = data.draw(st.sampled_from(sorted(SERVICES)))
    for _ in range(data.draw(st.integers(0, 2))):
        word = data.draw(st.sampled_from(sorted(edits(word))))
    known = sorted(each for each in (edits(word) & SERVICES.keys()) - {word} if len(each) >= 3)
    wanted = known[0] if known and len(word) >= 3 else None

    assert suggestion(word) == wanted


@given(WORDS)
def test_random_words_have_only_suggestions_that_are_services(suggestion: Any, word: str) -> None:
    assert suggestion(word) in {None, *SERVICES}
