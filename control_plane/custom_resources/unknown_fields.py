"""The CEL that finds unknown fields and nulls in an object, made of its schema.

A structural schema cannot refuse them (docs/adr/0025-unknown-fields-are-kept.md). One check for
each kind of object in the schema: its expression is true if all is well, its words name the first
field that is wrong, and where it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from scopeway.control_plane.custom_resources.schema import Schema
from scopeway.control_plane.custom_resources.values import quoted

INDEXES = "variables.indexes"
"""The numbers from 0 to the longest list: CEL's macros give no index, before Kubernetes 1.33."""
_SHOWN = 63
"""Characters of an unknown field that are shown."""


@dataclass(frozen=True, slots=True)
class Check:
    """The check of one kind of object."""

    place: str
    """Where such objects are, for people: "spec.accept[].identity"."""
    expression: str
    """True if no such object has an unknown field, or a field with null."""
    words: str
    """What is wrong with the first such object, as a CEL text."""


@dataclass(frozen=True, slots=True)
class _Step:
    """One step down: to a field, to each value of a map, or to each item of a list."""

    kind: str
    name: str = ""


def checks(schema: Schema, start: str = "object") -> list[Check]:
    """Return the checks of an object, and of all objects in it.

    Args:
        schema: The schema of the whole object.
        start: The CEL variable that is the object.
    """
    return [
        Check(
            place="".join(_shown(step) for step in steps).removeprefix("."),
            expression=_all(steps, f"dyn({start})", node),
            words=f"({_found(steps, f'dyn({start})', [], node)})[0]",
        )
        for steps, node in _objects(schema, ())
    ]


def longest_list(schema: Schema) -> int:
    """Return the most items that a list of objects may have."""
    lists = [step for step in _walk(schema) if step.get("items", {}).get("type") == "object"]
    return max((each["maxItems"] for each in lists), default=0)


def _walk(node: Schema) -> Iterator[Schema]:
    yield node
    for child in (*node.get("properties", {}).values(), *_inner(node)):
        yield from _walk(child)


def _inner(node: Schema) -> list[Schema]:
    return [node[key] for key in ("additionalProperties", "items") if key in node]


def _objects(node: Schema, steps: tuple[_Step, ...]) -> Iterator[tuple[tuple[_Step, ...], Schema]]:
    """Yield every object of a schema, but for those of Kubernetes and of the control plane."""
    if node.get("x-kubernetes-preserve-unknown-fields") or "additionalProperties" in node:
        yield steps, node
    for name, child in node.get("properties", {}).items():
        if name not in {"metadata", "status"}:
            yield from _objects(child, (*steps, _Step("field", name)))
    if "additionalProperties" in node:
        yield from _objects(node["additionalProperties"], (*steps, _Step("value")))
    if "items" in node:
        yield from _objects(node["items"], (*steps, _Step("item")))


def _shown(step: _Step) -> str:
    return {"field": f".{step.name}", "value": ".*", "item": "[]"}[step.kind]


def _all(steps: tuple[_Step, ...], at: str, node: Schema, depth: int = 0) -> str:
    """Return the expression that all is well with the objects at the end of some steps."""
    if not steps:
        return f"{at}.all(k, {_good(at, node)})"
    step, rest = steps[0], steps[1:]
    if step.kind == "field":
        below = _all(rest, f"{at}.{step.name}", node, depth)
        return f"({_absent(at, step)} || {below})"
    each = f"e{depth}"
    if step.kind == "item":
        return f"{at}.all({each}, {_all(rest, each, node, depth + 1)})"
    below = _all(rest, f"{at}[{each}]", node, depth + 1)
    return f"{at}.all({each}, {at}[{each}] == null || {below})"


def _found(
    steps: tuple[_Step, ...], at: str, place: list[str], node: Schema, depth: int = 0
) -> str:
    """Return the list of what is wrong; of each list and map on the way the first in each."""
    if not steps:
        return f"{at}.filter(k, !({_good(at, node)})).map(k, {_words(at, place, node)})"
    step, rest = steps[0], steps[1:]
    if step.kind == "field":
        dot = "." if place else ""
        below = _found(rest, f"{at}.{step.name}", [*place, f"'{dot}{step.name}'"], node, depth)
        return f"({_absent(at, step)} ? [] : {below})"
    each = f"e{depth}"
    inner = f"{at}[{each}]"
    wrong = f"!({_all(rest, inner, node, depth + 1)})"
    if step.kind == "item":
        below = _found(rest, inner, [*place, f"'[' + string({each}) + ']'"], node, depth + 1)
        return f"{INDEXES}.filter({each}, {each} < size({at}) && {wrong}).map({each}, ({below})[0])"
    below = _found(rest, inner, [*place, "'.'", each], node, depth + 1)
    return f"{at}.filter({each}, {inner} != null && {wrong}).map({each}, ({below})[0])"


def _absent(at: str, step: _Step) -> str:
    return f"!has({at}.{step.name}) || {at}.{step.name} == null"


def _good(at: str, node: Schema) -> str:
    """Return the expression that the field `k` of an object is known and not null."""
    known = f"k in {_names(node)} && " if "properties" in node else ""
    return f"{known}{at}[k] != null"


def _words(at: str, place: list[str], node: Schema) -> str:
    where = " + ".join(place) if place else "''"
    colon = " + ': '" if place else ""
    dot = " + '.'" if place else ""
    null = f"{where}{dot} + k + ': null is not a value; leave the field out'"
    if "properties" not in node:
        return null
    key = f"(size(k) > {_SHOWN} ? k.substring(0, {_SHOWN}) + '...' : k)"
    there = ", ".join(sorted(node["properties"].keys() - {"status"}))
    unknown = f"{where}{colon} + '\"' + {key} + '\" is not a field here; there are {there}'"
    return f"k in {_names(node)} ? {null} : {unknown}"


def _names(node: Schema) -> str:
    return quoted(sorted(node["properties"]))
