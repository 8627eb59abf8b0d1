"""What other field managers own of an object that Scopeway writes by server-side apply.

Pure. Server-side apply leaves fields that only others own: a rule that kubectl has applied would
survive a manifest without it. So the writer looks for such fields, and refuses or removes them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.registry.kubernetes.refusals import causes
from scopeway.xds.text import shown

MANAGER: Final = "scopeway-cli"
"""The field manager of the commands that write."""
SHOWN: Final = 5
"""Fields, and managers, that a sentence names."""

FieldPath = tuple[str, ...]

_CONFLICT = re.compile(r'conflict with "([^"]*)"')


def foreign_fields(
    document: Mapping[str, Any], stored: Mapping[str, Any], *, labels: bool
) -> Mapping[FieldPath, str]:
    """Return the fields of an object that its document does not have and others own.

    Args:
        document: What Scopeway has applied.
        stored: The object as it is stored then.
        labels: Whether labels of this kind of object belong to the document, but for those with a
            "/" in their key.

    Returns:
        The path of each field, to the manager that owns it. Fields of the status and annotations
        are nobody's business here.
    """
    own_labels = document["metadata"].get("labels", {})
    found: dict[FieldPath, str] = {}
    for entry in stored.get("metadata", {}).get("managedFields", ()):
        if entry.get("manager") == MANAGER or entry.get("subresource"):
            continue
        owned = entry.get("fieldsV1", {})
        paths = list(_missing({"f:spec": owned.get("f:spec", {})}, document))
        if labels:
            keys = _below(_below(owned, "metadata"), "labels")
            owned_labels = {key: value for key, value in keys.items() if "/" not in key}
            paths += _missing(owned_labels, own_labels, ("metadata", "labels"))
        for path in paths:
            found.setdefault(path, str(entry.get("manager", "")))
    return found


def removal(paths: Iterable[FieldPath]) -> dict[str, Any]:
    """Return the merge patch that removes fields."""
    patch: dict[str, Any] = {}
    for path in paths:
        at = patch
        for key in path[:-1]:
            at = at.setdefault(key, {})
        at[path[-1]] = None
    return patch


def conflicts(status: Mapping[str, Any]) -> Mapping[FieldPath, str]:
    """Return the fields of a conflict of server-side apply, each to its manager."""
    found: dict[FieldPath, str] = {}
    for cause in causes(status):
        if cause.get("reason") == "FieldManagerConflict":
            match = _CONFLICT.search(str(cause.get("message", "")))
            path = tuple(str(cause.get("field", "")).strip(".").split("."))
            found[path] = match[1] if match else "another"
    return found


def owners_sentence(fields: Mapping[FieldPath, str]) -> str:
    """Say who owns fields: "spec.accept is owned by the field manager kubectl"."""
    managers = sorted(set(fields.values()))
    verb = "is" if len(fields) == 1 else "are"
    word = "manager" if len(managers) == 1 else "managers"
    names = listed([shown(".".join(path)) for path in fields], SHOWN)
    return f"{names} {verb} owned by the field {word} {listed(managers, SHOWN)}"


def _missing(owned: Mapping[str, Any], document: Any, path: FieldPath = ()) -> Iterator[FieldPath]:
    """Yield the paths of owned fields that a document lacks. Lists are owned as a whole."""
    for key, below in owned.items():
        if not key.startswith("f:"):
            continue
        name = key.removeprefix("f:")
        if not isinstance(document, Mapping) or name not in document:
            yield (*path, name)
        else:
            yield from _missing(below, document[name], (*path, name))


def _below(owned: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = owned.get(f"f:{name}", {})
    return found if isinstance(found, Mapping) else {}
