"""The parts of a structural schema of Kubernetes, as plain dictionaries.

Invariants that hold for every node made here:

- An object keeps unknown fields, because a field that the API server drops could have been a
  restriction (docs/adr/0025-unknown-fields-are-kept.md). The admission policy refuses them.
- An optional field is nullable, because the API server drops a null of any other.
- Every text, list and map has an upper bound: CEL rules have a budget that depends on it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

Schema = dict[str, Any]


class SchemaMismatch(Exception):
    """A schema has other fields than the parser knows."""


def rule(
    expression: str, message: str = "", *, at: str = "", words: str = "", reason: str = ""
) -> Schema:
    """Return a rule in CEL.

    Args:
        expression: True if the value, `self`, is valid.
        message: What is wrong, in words that follow the value.
        at: The path of the field that is wrong, below `self`.
        words: The message as an expression, if it depends on the value.
        reason: The machine-readable reason, such as FieldValueRequired.
    """
    found = {"rule": expression, "message": message, "messageExpression": words}
    found |= {"fieldPath": at, "reason": reason}
    return {key: value for key, value in found.items() if value}


def fields_of(
    known: Collection[str],
    description: str,
    properties: Mapping[str, Schema],
    *,
    required: Sequence[str] = (),
    rules: Sequence[Schema] = (),
) -> Schema:
    """Return an object with fields.

    Raises:
        SchemaMismatch: `properties` are not the fields that the parser knows.
    """
    if properties.keys() != set(known):
        raise SchemaMismatch(f"{sorted(properties)} are not the fields {sorted(known)}")
    for name in properties.keys() - set(required):
        properties[name]["nullable"] = True
    schema: Schema = {"description": description, "type": "object"}
    if required:
        schema["required"] = list(required)
    schema["properties"] = dict(properties)
    schema["x-kubernetes-preserve-unknown-fields"] = True
    return _with_rules(schema, rules)


def map_of(description: str, values: Schema, *, most: int, rules: Sequence[Schema] = ()) -> Schema:
    """Return an object whose keys are anybody's choice."""
    schema: Schema = {
        "description": description,
        "type": "object",
        "maxProperties": most,
        "additionalProperties": {**values, "nullable": True},
    }
    return _with_rules(schema, rules)


def list_of(
    description: str,
    items: Schema,
    *,
    most: int,
    least: int = 1,
    rules: Sequence[Schema] = (),
) -> Schema:
    """Return a list, which is always replaced as a whole.

    Otherwise an apply would leave the entries of another field manager in a list of rules or words.
    """
    schema: Schema = {"description": description, "type": "array"}
    if least:
        schema["minItems"] = least
    schema |= {"maxItems": most, "x-kubernetes-list-type": "atomic", "items": items}
    return _with_rules(schema, rules)


def distinct_list_of(description: str, items: Schema, *, most: int) -> Schema:
    """Return a list of distinct words in a list that is replaced as a whole.

    A rule in CEL that they are distinct would be over its budget.
    """
    return {**list_of(description, items, most=most), "x-kubernetes-list-type": "set"}


def distinct() -> Schema:
    """Return the rule that the entries of a short list are distinct."""
    return rule("self.all(one, self.exists_one(other, one == other))", "contains duplicates")


def text(
    description: str,
    *,
    most: int,
    least: int = 0,
    pattern: str = "",
    rules: Sequence[Schema] = (),
) -> Schema:
    """Return a text of some characters that matches an RE2 pattern as a whole."""
    schema: Schema = {"description": description, "type": "string", "maxLength": most}
    if least:
        schema["minLength"] = least
    if pattern:
        schema["pattern"] = f"^(?:{pattern})$"
    return _with_rules(schema, rules)


def choice(description: str, words: Collection[str], *, default: str = "") -> Schema:
    """Return one of some words."""
    schema: Schema = {"description": description, "type": "string", "enum": list(words)}
    return {**schema, "default": default} if default else schema


def boolean(description: str) -> Schema:
    """Return true or false."""
    return {"description": description, "type": "boolean"}


def integer(description: str, least: int, most: int) -> Schema:
    """Return a whole number of a range."""
    return {"description": description, "type": "integer", "minimum": least, "maximum": most}


def number_or_word(description: str, least: int, most: int, word: str) -> Schema:
    """Return a whole number of a range, or one word.

    A rule in CEL would be over its budget, because texts have no upper bound here.
    """
    return {
        "description": description,
        "x-kubernetes-int-or-string": True,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "minimum": least,
        "maximum": most,
        "pattern": f"^{word}$",
    }


def _with_rules(schema: Schema, rules: Sequence[Schema]) -> Schema:
    return {**schema, "x-kubernetes-validations": list(rules)} if rules else schema
