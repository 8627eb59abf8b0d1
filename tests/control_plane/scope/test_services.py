"""The service types and their aliases."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scopeway.control_plane import scope
from scopeway.control_plane.scope import (
    ALIASES,
    SERVICE_TYPES,
    ScopeError,
    built_in,
    complete_scope,
    is_service_type,
    lexical_form,
    official_type,
    parse_scope,
)

SUGGESTIONS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "scope" / "suggestions.json").read_text()
)["cases"]
TYPES = built_in().with_types([("sensor", ("probe", "gauge")), ("valve", ())])


@pytest.mark.parametrize(
    ("word", "service_type"),
    [
        ("keystone", "identity"),
        ("glance", "image"),
        ("nova", "compute"),
        ("neutron", "network"),
        ("cinder", "block-storage"),
        ("swift", "object-store"),
        ("placement", "placement"),
        ("volumev3", "block-storage"),
        ("application_deployment", "application-deployment"),
        ("image", "image"),
        ("ec2-api", "ec2-api"),
    ],
)
def test_a_service_alias_stands_for_its_official_type(word: str, service_type: str) -> None:
    assert official_type(word) == service_type


@pytest.mark.parametrize("word", ["", "*", "glanze", "Glance", "identity.validate", "local"])
def test_an_unknown_word_is_no_service(word: str) -> None:
    assert official_type(word) is None


def test_no_alias_is_a_service_type_and_each_names_one() -> None:
    assert SERVICE_TYPES.isdisjoint(ALIASES)
    assert set(ALIASES.values()) <= SERVICE_TYPES


def test_every_service_word_is_accepted_in_a_scope() -> None:
    for word in [*SERVICE_TYPES, *ALIASES]:
        assert scope.lexical_form(f"{word}:a") == f"{official_type(word)}:a"
        assert scope.parse_scope(f"{word}:a").bindings[0].service == official_type(word)


def test_unknown_attributes_of_the_scope_modules_raise_attribute_error() -> None:
    for module in (scope, scope.services):
        with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
            _ = module.nothing


def test_importing_the_scope_language_imports_no_library() -> None:
    program = "import sys, scopeway.control_plane.scope; print(*sorted(sys.modules))"
    output = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert not {"lark", "os_service_types", "grpc", "envoy_data_plane"}.intersection(output)


def test_further_types_and_their_aliases_are_valid_words() -> None:
    assert (
        TYPES.official("sensor") == TYPES.official("probe") == TYPES.official("gauge") == "sensor"
    )
    assert TYPES.official("valve") == "valve"
    assert TYPES.official("glance") == "image"
    assert {"sensor", "valve"} == TYPES.types - SERVICE_TYPES
    assert built_in().official("sensor") is None


def test_a_scope_may_name_a_further_type() -> None:
    text = "{probe: cloud-2; glance: cloud-3}"

    assert lexical_form(text, TYPES) == "image:cloud-3;sensor:cloud-2"
    assert complete_scope(text, "cloud-1", TYPES).expression_for("sensor") == "cloud-2"
    assert [each.service for each in parse_scope(text, TYPES).bindings] == ["image", "sensor"]


def test_a_further_type_of_one_scope_is_unknown_in_the_next() -> None:
    parse_scope("probe: cloud-2", TYPES)

    for read in (parse_scope, lexical_form):
        with pytest.raises(ScopeError, match=r"column 1: no such service: 'probe'$"):
            read("probe: cloud-2")


def test_a_further_type_is_bound_once_whatever_word_stands_for_it() -> None:
    for read in (parse_scope, lexical_form):
        with pytest.raises(ScopeError, match="the service 'sensor' is bound twice"):
            read("sensor: a; probe: b", TYPES)


@pytest.mark.parametrize("case", SUGGESTIONS, ids=lambda case: case["why"])
def test_a_mistyped_word_gets_the_suggestion_of_the_vector(case: dict[str, Any]) -> None:
    assert built_in().suggestion(case["word"]) == case["suggestion"]


def test_every_valid_word_is_the_suggestion_for_itself_with_a_letter_more() -> None:
    for word in [*SERVICE_TYPES, *ALIASES]:
        found = built_in().suggestion(f"{word}x")
        assert found == (word if len(word) > 2 else None)


def test_a_further_type_is_suggested_in_scopes() -> None:
    for read in (parse_scope, lexical_form):
        with pytest.raises(ScopeError) as refusal:
            read("sensr: a", TYPES)
        assert str(refusal.value) == "column 1: no such service: 'sensr'; did you mean 'sensor'?"


def test_the_search_for_a_suggestion_compares_no_word_of_another_length() -> None:
    class Word(str):
        compared = 0

        def __getitem__(self, key: Any) -> str:
            Word.compared += 1
            return super().__getitem__(key)

    assert built_in().suggestion(Word("a" * 2000)) is None
    assert Word.compared == 0


@pytest.mark.parametrize("word", ["s", "4", "sensor", "sensor-2", "s" * 40])
def test_a_label_of_at_most_40_characters_may_be_a_service_type(word: str) -> None:
    assert is_service_type(word)


@pytest.mark.parametrize("word", ["", "*", "Sensor", "a.b", "a_b", "-a", "a-", "s" * 41, "a\n"])
def test_any_other_word_may_not_be_a_service_type(word: str) -> None:
    assert not is_service_type(word)


def test_every_built_in_type_may_be_a_service_type() -> None:
    assert all(map(is_service_type, SERVICE_TYPES))
