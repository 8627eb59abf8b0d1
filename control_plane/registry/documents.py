"""Parses JSON documents of a registry into clouds, cordons and service types, and writes them.

Checks the text itself, and that a document is under the right key. `control_plane.clouds` checks
the contents.
"""

import json
from typing import Any

from scopeway.control_plane.clouds import cordon, limits, service_type, validators
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document, parse_cordon
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import (
    ServiceType,
    parse_service_type,
    service_type_document,
)
from scopeway.control_plane.registry.interface import Declared, Entry

CORDON_KEY = "/cordon"
"""The suffix of the key of a cordon, after the cloud's key: one watch reports both in order, and
whoever registers the cloud does not overwrite the cordon."""

SERVICE_TYPES_KEY = "_service-types/"
"""The prefix of the keys of service types, among those of clouds: one watch reports all of them in
order, and who may read clouds may read these. No cloud's name begins with "_"."""

MAX_BYTES = 256 * 1024
"""The largest document: hundreds of times the size of a large cloud."""


def parse_document(document: object, place: str) -> Declared:
    """Return what a document (of the plain types of YAML or JSON) declares.

    Raises:
        InvalidCloud: the document is not valid.
    """
    if isinstance(document, dict) and document.get("kind") == cordon.KIND:
        return parse_cordon(document, place)
    if isinstance(document, dict) and document.get("kind") == service_type.KIND:
        return parse_service_type(document, place)
    return parse_manifest(document, place)


def parse_json(
    text: bytes, place: str, key: str | None = None, *, max_bytes: int = MAX_BYTES
) -> Entry:
    """Return the entry that a JSON document declares.

    Args:
        text: The document.
        place: Where the document is, for people.
        key: The end of its key: the name of a cloud, alone or with CORDON_KEY, or that of a service
            type after SERVICE_TYPES_KEY. The document must have that name and kind. None if the
            document has no key.
        max_bytes: A longer document is not valid.
    """
    entry = _read(text, place, key, max_bytes)
    if isinstance(entry, InvalidCloud) and key is not None:  # the key has the name
        kind, name = _kind_and_name(key)
        entry.name = name if kind is Cloud else None
        entry.cordon = name if kind is Cordon else None
        entry.service_type = name if kind is ServiceType else None
    return entry


def _kind_and_name(key: str) -> tuple[type[Declared], str]:
    """Return what the end of a key is for."""
    if key.startswith(SERVICE_TYPES_KEY):
        return ServiceType, key.removeprefix(SERVICE_TYPES_KEY)
    if key.endswith(CORDON_KEY):
        return Cordon, key.removesuffix(CORDON_KEY)
    return Cloud, key


def _read(text: bytes, place: str, key: str | None, max_bytes: int) -> Entry:
    try:
        document = _decode(text, max_bytes)
    except (ValueError, RecursionError) as error:
        return InvalidCloud(place, Problem("", f"is not JSON: {_one_line(error)}"))
    try:
        entry = parse_document(document, place)
    except InvalidCloud as error:
        return error
    if key is None:
        return entry
    kind, name = _kind_and_name(key)
    if not isinstance(entry, kind):
        reason = f"{validators.show(document['kind'])} is not the kind of document for this key"
        return InvalidCloud(place, Problem("kind", reason))
    if entry.name != name:
        reason = (
            f"{validators.show(entry.name)} is not the name in the key, {validators.show(name)}"
        )
        return InvalidCloud(place, Problem("metadata.name", reason))
    return entry


def to_plain(entry: Declared) -> dict[str, Any]:
    """Return the document of an entry, of the plain types of JSON."""
    if isinstance(entry, Cordon):
        return cordon_document(entry)
    if isinstance(entry, ServiceType):
        return service_type_document(entry)
    return to_document(entry)


def to_json(entry: Declared) -> bytes:
    """Return the document of an entry in one line."""
    return json.dumps(to_plain(entry), separators=(",", ":"), ensure_ascii=False).encode()


def _decode(text: bytes, max_bytes: int) -> Any:
    if len(text) > max_bytes:
        raise ValueError(f"longer than {max_bytes} bytes")
    if text.count(b"{") > limits.OBJECTS:  # each costs a call of `_without_duplicates`
        raise ValueError(f"more than {limits.OBJECTS} objects")
    return _DECODER.decode(text.decode())


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"duplicate field {name[:60]!r}")
        found[name] = value
    return found


_DECODER = json.JSONDecoder(object_pairs_hook=_without_duplicates)


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).replace("\n", " ")
