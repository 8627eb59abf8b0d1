"""The cordon: an operator's mark that keeps other clouds from using a cloud.

Parses and writes its document. The cordon is not part of the manifest, because whoever registers
the cloud writes the manifest again and again (a heartbeat is a put), and must not lift the cordon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from scopeway.control_plane.clouds import fields, validators
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.manifest import API_VERSION, MAX_PROBLEMS, unknown_field

KIND = "Cordon"
MAX_REASON = 256
"""Characters; users see the reason in the answer to each request that names the cloud."""

_FIELDS: Mapping[str, frozenset[str]] = {
    "": fields.DOCUMENT,
    "metadata": fields.NAME_ONLY,
    "spec": fields.CORDON_SPEC,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cordon:
    """A cordon, as its document declares it."""

    name: str
    """The name of the cloud, which need not be registered."""
    reason: str = ""
    """The operator's reason, for users; may be empty."""


def parse_cordon(document: Mapping[Any, Any], place: str) -> Cordon:
    """Return the cordon that a document declares.

    Raises:
        InvalidCloud: the document is not valid.
    """
    problems: list[Problem] = []
    more = 0
    objects = {"": document}
    for at in ("metadata", "spec"):
        found = document.get(at, {})
        if not isinstance(found, dict):
            problems.append(Problem(at, f"{validators.show(found)} is not an object"))
            found = {}
        objects[at] = found
    for at, known in _FIELDS.items():
        strange = sorted(objects[at].keys() - known, key=str)
        more += max(len(strange) - MAX_PROBLEMS, 0)
        problems += [Problem(at, unknown_field(key, known)) for key in strange[:MAX_PROBLEMS]]
    if document.get("apiVersion") != API_VERSION:
        found = validators.show(document.get("apiVersion"))
        problems.append(Problem("apiVersion", f"{found} is not {API_VERSION!r}"))
    name: Any = objects["metadata"].get("name")
    reason: Any = objects["spec"].get("reason", "")
    for at, value, why in (
        ("metadata.name", name, validators.name_problem(name)),
        ("spec.reason", reason, _reason(reason)),
    ):
        if why is not None:
            problems.append(Problem(at, f"{validators.show(value)} {why}"))
    if problems:
        raise InvalidCloud(place, *problems, more=more)
    return Cordon(name=name, reason=reason)


def cordon_document(cordon: Cordon) -> dict[str, Any]:
    """Return the document of a cordon: the inverse of `parse_cordon`."""
    document: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": cordon.name},
    }
    return {**document, "spec": {"reason": cordon.reason}} if cordon.reason else document


def _reason(value: object) -> str | None:
    if not isinstance(value, str):
        return validators.not_text_problem(value)
    if len(value) > MAX_REASON:
        return f"is longer than {MAX_REASON} characters"
    return None if value.isprintable() else "is not one line of printable text"
