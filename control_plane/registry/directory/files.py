"""The clouds and cordons of one YAML file of any number of documents.

Owns how the documents of a file are told apart from one version of the file to the next. Pure.
Invariant: a place names its cloud and not its line, so that a document may move within the file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.manifest import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry.directory import yaml_documents
from scopeway.control_plane.registry.documents import parse_document
from scopeway.control_plane.registry.protocol import Entry, Place

Known = Mapping[bytes, Cloud | Cordon]

_NOTHING: Known = MappingProxyType({})
_OUTSIDE = (
    "is refused; the reason is not shown, because this is a link to a file outside of the folder: "
    "move the file into it, or name its own folder with dir:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """What stands in a file."""

    entries: Mapping[Place, Entry]
    """`file#cloud`, `file#cloud cordon`, or `file:line` where the cloud cannot be told; the second
    document of the same one has ` (2)` behind it."""
    documents: Known = field(repr=False)
    """The good documents by a digest of their text."""
    all_identified: bool
    """Every document could be told to be some cloud's: what is not in `entries` is not in it."""


def read_manifests(
    text: str, file: str, known: Known = _NOTHING, *, inside: bool = True
) -> Manifests:
    """Return the clouds of a file's text.

    Args:
        text: All of it.
        file: Its name, for the places.
        known: The `documents` of an older version, not to be parsed again.
        inside: It is in the folder of the registry. Else of a document that is refused nothing is
            shown: whoever may put a link into the folder must not read what the control plane may.
    """
    entries: dict[Place, Entry] = {}
    documents: dict[bytes, Cloud | Cordon] = {}
    numbers: dict[Place, int] = {}
    all_identified = True
    for line, document in yaml_documents.split(text.removeprefix("\ufeff")):
        digest = hashlib.blake2b(document.encode(), digest_size=16).digest()
        entry = known.get(digest) or _read(document, file, line)
        if entry is None:
            continue
        if not isinstance(entry, InvalidCloud):
            documents[digest] = entry
        elif not inside:
            entry = InvalidCloud(f"{file}:{line}", Problem("", _OUTSIDE))
        all_identified = all_identified and entry.name is not None
        place = _place(entry, file, line)
        number = numbers[place] = numbers.get(place, 0) + 1
        entries[place if number == 1 else f"{place} ({number})"] = entry
    return Manifests(entries=entries, documents=documents, all_identified=all_identified)


def unreadable_file(file: str, reason: str) -> Manifests:
    """Return what is known of a file that cannot be read: nothing."""
    problem = InvalidCloud(file, Problem("", reason))
    return Manifests(entries={file: problem}, documents={}, all_identified=False)


def _place(entry: Entry, file: str, line: int) -> Place:
    if entry.name is None:
        return f"{file}:{line}"
    return f"{file}#{entry.name}{' cordon' if isinstance(entry, Cordon) else ''}"


def _read(document: str, file: str, line: int) -> Entry | None:
    try:
        value = yaml_documents.load(document)
    except yaml_documents.NotYaml as error:
        return InvalidCloud(f"{file}:{line + error.line - 1}", Problem("", error.reason))
    if value is None:
        return None
    try:
        return parse_document(value, f"{file}:{line}")
    except InvalidCloud as error:
        return error
