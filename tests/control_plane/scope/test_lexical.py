"""The lexical form: the vectors that Python and Lua share, and the parser on the same texts."""

import json
from pathlib import Path
from typing import Any

import pytest

from scopeway.control_plane.scope import (
    SERVICE_TYPES,
    ScopeError,
    complete_scope,
    lexical_form,
    parse_expression,
    parse_scope,
)

VECTORS = Path(__file__).parents[2] / "vectors" / "scope" / "lexical.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]
ACCEPTED = [case for case in CASES if not case.get("error")]
REFUSED = [case for case in CASES if case.get("error")]


def why(case: dict[str, Any]) -> str:
    return str(case["why"])


@pytest.mark.parametrize("case", ACCEPTED, ids=why)
def test_the_lexical_form_of_an_accepted_vector_is_as_expected(case: dict[str, Any]) -> None:
    text, origin = case["text"], case["origin"]

    assert lexical_form(text) == case["lexical"]
    assert lexical_form(text.encode()) == case["lexical"]
    assert lexical_form(case["lexical"]) == case["lexical"]
    if case["completed"] is None:
        with pytest.raises(ScopeError, match="with '\\*' and 'local' filled in"):
            complete_scope(text, origin)
        return
    assert complete_scope(text, origin).text == case["completed"]
    assert complete_scope(case["completed"], origin).text == case["completed"]
    for service, expression in case["bindings"].items():
        assert complete_scope(text, origin).expression_for(service) == expression
        assert complete_scope(case["completed"], "another").expression_for(service) == expression


@pytest.mark.parametrize("case", REFUSED, ids=why)
def test_a_refused_vector_is_refused_by_python(case: dict[str, Any]) -> None:
    text = bytes.fromhex(case["text_hex"]) if "text_hex" in case else case["text"]

    for refuse in (lexical_form, parse_scope):
        with pytest.raises(ScopeError) as refusal:
            refuse(text)
        assert refusal.value.status == 400


@pytest.mark.parametrize("case", ACCEPTED, ids=why)
def test_the_lexical_form_parses_to_the_same_scope(case: dict[str, Any]) -> None:
    try:
        scope = parse_scope(case["text"])
    except ScopeError:
        assert why(case).startswith(("does not parse", "complete() refuses"))
        return

    assert not why(case).startswith("does not parse")
    assert parse_scope(case["lexical"]) == scope


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("glance:a", None),
        ("{glance:a", "column 10: '}' is missing at the end"),
        ("glance:{a}", "column 8: '{' stands only around the whole scope"),
        ("glance:a]", "column 9: ']' without its partner"),
        ("glance:[a=b", "column 12: ']' is missing"),
        ("glance:[a=b;nova:c", "column 12: ']' is missing before the end of a binding"),
        ('glance:"a', "column 10: the closing quote is missing"),
        ('glance:"a;nova:b"', "column 10: the closing '\"' is missing before the end of a binding"),
        ("glance:\"a'", "column 10: the closing '\"' is missing before \"'\""),
        ("glance:clo ud", "column 12: an operator or ';' is missing between two names"),
        ("glance:a| |b", "column 11: a cloud is missing between two '|'"),
        ("cloud-1", "column 8: ':' is missing"),
        ("glance:a;;", "column 10: a binding is missing"),
        ("glance:;", "column 8: an expression is missing for 'image'"),
        (":a", "column 1: a service is missing before ':'"),
        ("glance:a:b", "column 9: a second ':' in one binding"),
        ("glanze:a", "column 1: no such service: 'glanze'; did you mean 'glance'?"),
        ("glance:a;image:b", "column 15: the service 'image' is bound twice"),
    ],
)
def test_errors_of_the_lexical_form_name_the_place_and_the_reason(
    text: str, sentence: str | None
) -> None:
    if sentence is None:
        assert lexical_form(text) == "image:a"
        return
    with pytest.raises(ScopeError) as refusal:
        lexical_form(text)

    assert str(refusal.value) == sentence


def test_a_scope_with_a_binding_for_every_service_is_read() -> None:
    text = ";".join(f"{service}:a" for service in ["*", *sorted(SERVICE_TYPES)])

    assert lexical_form(text) == text


def test_each_binding_of_a_completed_scope_is_an_expression() -> None:
    expression = complete_scope("{glance: [region=eu] || local}", "cloud-1").expression_for("image")

    assert expression == "[region=eu]|cloud-1"
    assert parse_expression(expression) == parse_expression("[region=eu] | cloud-1")
