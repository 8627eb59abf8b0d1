"""JSON texts of the registry to clouds.

Owns what is strict about the text itself; its meaning is in `control_plane.clouds.manifest`.
"""

import json
from typing import Any

from control_plane.clouds import fields
from control_plane.clouds.document import to_document
from control_plane.clouds.manifest import InvalidCloud, Problem, parse_manifest
from control_plane.clouds.model import Cloud

MAX_BYTES = 256 * 1024
"""Of one document: hundreds of times what a large cloud needs."""


def parse_json(text: bytes, place: str, name: str | None = None) -> Cloud | InvalidCloud:
    """Return the cloud that a JSON document declares; it must be called `name`, unless None."""
    try:
        document = _decode(text)
    except (ValueError, RecursionError) as error:
        return InvalidCloud(place, Problem("", f"is not JSON: {_one_line(error)}"), name=name)
    try:
        cloud = parse_manifest(document, place)
    except InvalidCloud as error:
        return error
    if name is not None and cloud.name != name:
        reason = f"{fields.show(cloud.name)} is not the name in the key, {fields.show(name)}"
        return InvalidCloud(place, Problem("metadata.name", reason), name=name)
    return cloud


def to_json(cloud: Cloud) -> bytes:
    """Return the document of a cloud in one line."""
    return json.dumps(to_document(cloud), separators=(",", ":"), ensure_ascii=False).encode()


def _decode(text: bytes) -> Any:
    if len(text) > MAX_BYTES:
        raise ValueError(f"longer than {MAX_BYTES} bytes")
    return _DECODER.decode(text.decode())


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twin = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the field {twin!r} stands twice in one object")
    return fields


_DECODER = json.JSONDecoder(object_pairs_hook=_without_twins)


def _one_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    return str(error).replace("\n", " ")
