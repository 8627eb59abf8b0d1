"""The schemas have the fields of the parsers, and what Kubernetes needs of each."""

import re
import sys
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest

from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.custom_resources import status, values
from scopeway.control_plane.custom_resources.definitions import Resource, definition, resources
from scopeway.control_plane.custom_resources.schema import SchemaMismatch, fields_of, text
from scopeway.control_plane.registry.documents import parse_document
from scopeway.control_plane.status_writer import conditions

RESOURCES = {each.kind: each for each in resources()}
NAMES = {"EdgeCloud": "cloud-1", "Cordon": "cloud-1", "ServiceType": "sensor"}


def nodes(schema: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every node below a schema, and its path: ".spec.accept[].clouds"."""
    for name, child in schema.get("properties", {}).items():
        yield f"{at}.{name}", child
        yield from nodes(child, f"{at}.{name}")
    for key, step in (("items", "[]"), ("additionalProperties", ".*")):
        if key in schema:
            yield f"{at}{step}", schema[key]
            yield from nodes(schema[key], f"{at}{step}")


def of_ours(resource: Resource) -> list[tuple[str, Any]]:
    """Return the nodes that the parsers read."""
    return [(at, node) for at, node in nodes(resource.schema) if at.startswith(".spec")]


def document_with(kind: str, at: str, inner: Any) -> Any:
    """Return a document that has a value at a path, and little else."""
    value = inner
    for step in reversed(re.findall(r"\.[^.\[]+|\[\]", at)):
        value = [value] if step == "[]" else {"image" if step == ".*" else step[1:]: value}
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": kind, "metadata": {"name": NAMES[kind]}}
    return {**head, **value}


def problems(document: Any) -> list[tuple[str, str]]:
    try:
        parse_document(document, "")
    except InvalidCloud as error:
        return [(each.field, each.reason) for each in error.problems]
    return []


@pytest.mark.parametrize("kind", RESOURCES)
def test_every_object_has_the_fields_that_the_parser_knows(kind: str) -> None:
    objects = [(at, node) for at, node in of_ours(RESOURCES[kind]) if "properties" in node]
    assert objects
    for at, node in objects:
        found = problems(document_with(kind, at, {"zzzzzzzz": 1}))
        (hint,) = [reason for _, reason in found if "zzzzzzzz" in reason]
        assert (
            hint
            == f'"zzzzzzzz" is not a field here; there are {", ".join(sorted(node["properties"]))}'
        )


@pytest.mark.parametrize("kind", RESOURCES)
def test_the_parser_reads_every_field_of_the_schema(kind: str) -> None:
    for at, _ in of_ours(RESOURCES[kind]):
        found = problems(document_with(kind, at, {"zzzzzzzz": 1}))
        assert found, f"{at} may be anything"
        unknown = [reason for _, reason in found if "is not a field here" in reason]
        assert all(reason.startswith('"zzzzzzzz"') for reason in unknown), at


@pytest.mark.parametrize("kind", RESOURCES)
def test_every_field_is_described_by_sentences(kind: str) -> None:
    for at, node in nodes(RESOURCES[kind].schema):
        if at != ".metadata":
            assert re.match(r"(?s)[A-Z`].*\.$", node["description"]), at
    assert RESOURCES[kind].schema["description"]


@pytest.mark.parametrize("kind", RESOURCES)
def test_every_text_list_and_map_is_bounded(kind: str) -> None:
    bounds = {"string": ("maxLength", "enum"), "array": ("maxItems",)}
    for at, node in of_ours(RESOURCES[kind]):
        if node.get("type") in bounds:
            assert any(bound in node for bound in bounds[node["type"]]), at
        assert "additionalProperties" not in node or "maxProperties" in node, at


@pytest.mark.parametrize("kind", RESOURCES)
def test_nothing_of_a_document_is_dropped(kind: str) -> None:
    schema = RESOURCES[kind].schema
    assert schema["x-kubernetes-preserve-unknown-fields"] is True
    for at, node in [("", schema), *of_ours(RESOURCES[kind])]:
        if "properties" in node:
            assert node["x-kubernetes-preserve-unknown-fields"] is True, at
            for name, child in node["properties"].items():
                if name in {"apiVersion", "kind", "metadata", "status"}:
                    continue
                assert child.get("nullable", False) is not (name in node.get("required", ())), name
        if "additionalProperties" in node:
            assert node["additionalProperties"]["nullable"] is True, at


@pytest.mark.parametrize("kind", RESOURCES)
def test_every_list_is_replaced_as_a_whole(kind: str) -> None:
    """Entries of another field manager must not stay. A list in such a list may be a set."""
    for at, node in of_ours(RESOURCES[kind]):
        if node.get("type") == "array":
            kinds = {"atomic", "set"} if "[]" in at else {"atomic"}
            assert node["x-kubernetes-list-type"] in kinds, at


def test_a_schema_with_other_fields_than_the_parser_is_not_made() -> None:
    with pytest.raises(SchemaMismatch):
        fields_of({"a", "b"}, "An object.", {"a": text("A text.", most=1)})


def test_the_printable_characters_are_those_of_python() -> None:
    categories = set(re.findall(r"\\p\{(.)\}", values.PRINTABLE))
    assert re.sub(r"\\p\{.\}", "", values.PRINTABLE) == "[ ]"
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        ours = character == " " or unicodedata.category(character)[0] in categories
        assert ours == character.isprintable(), hex(code)


def test_conditions_have_the_names_that_are_written() -> None:
    ours = {status.ACCEPTED, status.ENVOY_CONNECTED, status.RESOLVED_REFS}

    assert ours == conditions.TYPES


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("EdgeCloud", ["edgeclouds", "edgecloud", "ec", "scopeway"]),
        ("Cordon", ["cordons", "cordon", "scopeway"]),
        ("ServiceType", ["servicetypes", "servicetype", "sty", "scopeway"]),
    ],
)
def test_a_kind_has_its_names(kind: str, names: list[str]) -> None:
    found = definition(RESOURCES[kind])["spec"]["names"]

    assert [
        *(found["plural"], found["singular"]),
        *found.get("shortNames", ()),
        *found["categories"],
    ] == names
