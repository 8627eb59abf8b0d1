"""The clouds, cordons and service types of one YAML file with any number of documents.

Identifies the documents of a file across versions of the file. Pure. Invariant: the place of an
entry has its kind and name and not its line, so that a document may move within the file.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.directory import yaml_documents
from scopeway.control_plane.registry.documents import parse_document
from scopeway.control_plane.registry.interface import Declared, Entry, Place

Known = Mapping[bytes, Declared]

_NOTHING: Known = MappingProxyType({})
_OUTSIDE = (
    "is refused; the reason is not shown, because this is a link to a file outside of the folder: "
    "move the file into it, or name its own folder with dir:"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifests:
    """The contents of a file."""

    entries: Mapping[Place, Entry]
    """By place: `file#cloud`, `file#cloud cordon`, `file#name service-type`, or `file:line` if the
    document has no valid name. A second document of the same subject gets the suffix ` (2)`."""
    documents: Known = field(repr=False)
    """The valid documents, by the digest of their text."""
    all_identified: bool
    """Whether every document has a name: then a cloud that is not in `entries` is not in the
    file."""


def read_manifests(
    text: str, file: str, known: Known = _NOTHING, *, inside: bool = True
) -> Manifests:
    """Return the contents of a file.

    Args:
        text: The whole text of the file.
        file: The name of the file, for the places.
        known: The `documents` of an older version, which are not parsed again.
        inside: Whether the file is in the folder of the registry. If not, errors show nothing of
            its text: whoever puts a link into the folder may not be allowed to read its target.
    """
    entries: dict[Place, Entry] = {}
    documents: dict[bytes, Declared] = {}
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
    """Return the contents of a file that cannot be read: one error."""
    problem = InvalidCloud(file, Problem("", reason))
    return Manifests(entries={file: problem}, documents={}, all_identified=False)


def _place(entry: Entry, file: str, line: int) -> Place:
    if entry.name is None:
        return f"{file}:{line}"
    kind = {Cordon: " cordon", ServiceType: " service-type"}.get(type(entry), "")
    return f"{file}#{entry.name}{kind}"


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
