"""JSON texts of the registry to clouds and cordons.

Owns what is strict about the text itself, and which keys hold what; the meaning is in
`control_plane.clouds`.
"""

import json
from typing import Any

from scopeway.control_plane.clouds import cordon, limits, validators
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document, parse_cordon
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.manifest import InvalidCloud, Problem, parse_manifest
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.protocol import Entry

CORDON_KEY = "/cordon"
"""What a cloud's key ends with for its cordon. Below the cloud's own key, so that one watch sees
both, in order; beside it, so that whoever registers the cloud doesn't write it."""

MAX_BYTES = 256 * 1024
"""Of one document: hundreds of times what a large cloud needs."""


def parse_document(document: object, place: str) -> Cloud | Cordon:
    """Return what a document (of YAML's or JSON's plain types) declares, by its kind.

    Raises:
        InvalidCloud: the document is refused.
    """
    if isinstance(document, dict) and document.get("kind") == cordon.KIND:
        return parse_cordon(document, place)
    return parse_manifest(document, place)


def parse_json(
    text: bytes, place: str, key: str | None = None, *, max_bytes: int = MAX_BYTES
) -> Entry:
    """Return what a JSON document declares.

    Args:
        text: The document.
        place: Where it stands, for people.
        key: The end of its key: a cloud's name, alone or with CORDON_KEY. The document must be that
            cloud's, and of that kind; None: there is no key.
        max_bytes: A longer document is refused.
    """
    entry = _read(text, place, key, max_bytes)
    if isinstance(entry, InvalidCloud) and key is not None:  # the key says whose it is
        name = key.removesuffix(CORDON_KEY)
        entry.name, entry.cordon = (name, None) if name == key else (None, name)
    return entry


def _read(text: bytes, place: str, key: str | None, max_bytes: int) -> Entry:
    name = None if key is None else key.removesuffix(CORDON_KEY)
    try:
        document = _decode(text, max_bytes)
    except (ValueError, RecursionError) as error:
        return InvalidCloud(place, Problem("", f"is not JSON: {_one_line(error)}"))
    try:
        entry = parse_document(document, place)
    except InvalidCloud as error:
        return error
    if name is None:
        return entry
    if isinstance(entry, Cordon) != (key != name):
        reason = f"{validators.show(document['kind'])} is not the kind of document for this key"
        return InvalidCloud(place, Problem("kind", reason))
    if entry.name != name:
        reason = (
            f"{validators.show(entry.name)} is not the name in the key, {validators.show(name)}"
        )
        return InvalidCloud(place, Problem("metadata.name", reason))
    return entry


def to_json(entry: Cloud | Cordon) -> bytes:
    """Return the document of a cloud or a cordon in one line."""
    document = cordon_document(entry) if isinstance(entry, Cordon) else to_document(entry)
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def _decode(text: bytes, max_bytes: int) -> Any:
    if len(text) > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    if text.count(b"{") > limits.OBJECTS:  # each takes a call of `_without_twins`
        raise ValueError(f"more than {limits.OBJECTS} objects")
    return _DECODER.decode(text.decode())


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the field {name[:60]!r} stands twice in one object")
        found[name] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_without_twins)


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).replace("\n", " ")
