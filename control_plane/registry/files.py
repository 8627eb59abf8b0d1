"""The clouds of one YAML file of any number of documents.

Owns how the documents of a file are told apart from one version of the file to the next. Pure.
Invariant: a place names its cloud and not its line, so that a document may move within the file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from control_plane.clouds.manifest import InvalidCloud, Problem, parse_manifest
from control_plane.clouds.model import Cloud
from control_plane.registry import yaml_documents
from control_plane.registry.protocol import Place

Known = Mapping[bytes, Cloud]

_NOTHING: Known = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What stands in a file."""

    entries: Mapping[Place, Cloud | InvalidCloud]
    """`file#cloud`, or `file:line` for a document whose cloud cannot be told."""
    documents: Known = field(repr=False)
    """The good documents by a digest of their text."""
    whole: bool
    """Every document could be told to be some cloud's: what is not in `entries` is not in it."""


def read_manifests(text: str, file: str, known: Known = _NOTHING) -> Manifests:
    """Return the clouds of a file's text.

    Args:
        text: All of it.
        file: Its name, for the places.
        known: The `documents` of an older version, not to be parsed again.
    """
    entries: dict[Place, Cloud | InvalidCloud] = {}
    documents: dict[bytes, Cloud] = {}
    whole = True
    for line, document in yaml_documents.split(text.removeprefix("\ufeff")):
        digest = hashlib.blake2b(document.encode(), digest_size=16).digest()
        entry = known.get(digest) or _read(document, file, line)
        if entry is None:
            continue
        if isinstance(entry, Cloud):
            documents[digest] = entry
        whole = whole and entry.name is not None
        place = f"{file}:{line}" if entry.name is None else f"{file}#{entry.name}"
        entries[_free(place, entries)] = entry
    return Manifests(entries=entries, documents=documents, whole=whole)


def unreadable(file: str, reason: str) -> Manifests:
    """Return what is known of a file that cannot be read: nothing."""
    problem = InvalidCloud(file, Problem("", reason))
    return Manifests(entries={file: problem}, documents={}, whole=False)


def _read(document: str, file: str, line: int) -> Cloud | InvalidCloud | None:
    try:
        value = yaml_documents.load(document)
    except yaml_documents.NotYaml as error:
        return InvalidCloud(f"{file}:{line + error.line - 1}", Problem("", error.reason))
    if value is None:
        return None
    try:
        return parse_manifest(value, f"{file}:{line}")
    except InvalidCloud as error:
        return error


def _free(place: Place, taken: Mapping[Place, object]) -> Place:
    """Return a place for a document; a second one of the same cloud gets a number."""
    number, candidate = 1, place
    while candidate in taken:
        number += 1
        candidate = f"{place} ({number})"
    return candidate
