"""Merges several kubeconfigs, as kubectl does with those that $KUBECONFIG names. Pure."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

_KINDS: Final = ("cluster", "user", "context")
_FILES: Final = ("certificate-authority", "client-certificate", "client-key", "tokenFile")


def merge(documents: Iterable[tuple[Path, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return one kubeconfig of several, each with its file.

    The first file that has a name, or a `current-context`, decides. Relative paths become absolute,
    since each is relative to its own file.
    """
    merged: dict[str, Any] = {f"{kind}s": [] for kind in _KINDS}
    names: set[tuple[str, object]] = set()
    for file, document in documents:
        if document.get("current-context") and not merged.get("current-context"):
            merged["current-context"] = document["current-context"]
        for kind in _KINDS:
            for entry in _entries(document, kind):
                key = kind, str(entry.get("name"))
                if key not in names:
                    names.add(key)
                    value = _absolute(entry.get(kind), file.absolute().parent)
                    merged[f"{kind}s"].append({**entry, kind: value})
    return merged


def _entries(document: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    found = document.get(f"{kind}s")
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _absolute(value: object, folder: Path) -> object:
    if not isinstance(value, dict):
        return value
    changed: dict[str, object] = {
        key: str(folder / str(value[key])) for key in _FILES if value.get(key)
    }
    plugin = value.get("exec")
    if isinstance(plugin, dict) and "/" in str(plugin.get("command", "")):
        changed["exec"] = {**plugin, "command": str(folder / str(plugin["command"]))}
    return {**value, **changed}
