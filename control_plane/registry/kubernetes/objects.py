"""What of a Kubernetes object is a manifest, and what the writer of its status needs. Pure.

A manifest has the object's name, its labels without "/" and its spec. Everything else (uid,
annotations, managed fields, labels of Helm or Argo CD) belongs to Kubernetes.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from scopeway.control_plane.clouds import cordon, manifest, service_type
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.kubernetes_api import paths
from scopeway.control_plane.kubernetes_api.nesting import flatten
from scopeway.control_plane.registry.documents import CORDON_KEY, SERVICE_TYPES_KEY, parse_json
from scopeway.control_plane.registry.interface import Entry, Place

Digest = bytes

MAX_CONDITIONS: Final = 16
"""Conditions of an object that are looked at. Scopeway writes three."""
MAX_CONDITIONS_BYTES: Final = 32 * 1024
"""Bytes of all conditions of an object; longer ones count as none."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One of our three resources."""

    name: str
    """As in the path, and in a place."""
    kind: str
    path: str
    key: str
    """The key that `documents.parse_json` knows an entry by; {} is the name."""
    has_labels: bool = False


EDGE_CLOUDS: Final = Resource("edgeclouds", manifest.KIND, paths.EDGE_CLOUDS, "{}", has_labels=True)
CORDONS: Final = Resource("cordons", cordon.KIND, paths.CORDONS, f"{{}}{CORDON_KEY}")
SERVICE_TYPES: Final = Resource(
    "servicetypes", service_type.KIND, paths.SERVICE_TYPES, f"{SERVICE_TYPES_KEY}{{}}"
)
RESOURCES: Final = (EDGE_CLOUDS, CORDONS, SERVICE_TYPES)


class ObservedObject(msgspec.Struct, frozen=True, gc=False):
    """What the writer of status needs of an object; a new one at each change."""

    uid: str
    generation: int
    """Kubernetes counts it up with each change of the spec."""
    raw_conditions: bytes
    """The JSON of `status.conditions`: a twentieth of the memory of its mappings."""

    @property
    def conditions(self) -> tuple[Mapping[str, Any], ...]:
        """The entries of `status.conditions`."""
        try:
            found = msgspec.json.decode(self.raw_conditions or b"[]", type=list[Any])
        except msgspec.MsgspecError:
            return ()
        return tuple(each for each in found[:MAX_CONDITIONS] if isinstance(each, dict))


@dataclass(frozen=True, slots=True)
class SeenObject:
    """One object of a list, or of an event."""

    resource: Resource
    name: str
    version: str
    """The resource version."""
    text: bytes
    """The manifest, as JSON."""
    observed: ObservedObject

    @property
    def place(self) -> Place:
        """Where the registry keeps the object."""
        return f"{self.resource.name}/{self.name}"

    @property
    def digest(self) -> Digest:
        """A hash of the manifest."""
        return hashlib.blake2b(self.text, digest_size=16).digest()

    def entry(self) -> Entry:
        """Return what the object declares."""
        return parse_json(self.text, self.place, key=self.resource.key.format(self.name))


def see(resource: Resource, raw: bytes | msgspec.Raw) -> SeenObject:
    """Return what counts of an object.

    Args:
        resource: The kind of the object.
        raw: The object, as JSON.

    Raises:
        ValueError: it is not an object of Kubernetes.
    """
    try:
        fields = _FIELDS.decode(raw)
    except RecursionError:
        fields = _FIELDS.decode(flatten(bytes(raw)))
    metadata = _METADATA.decode(fields.pop("metadata", b"{}"))
    status = fields.pop("status", None)
    labels = metadata.labels if resource.has_labels else None
    own = {key: value for key, value in (labels or {}).items() if "/" not in key}
    document: dict[str, Any] = {
        **fields,  # unknown ones, too: the parser refuses them
        "apiVersion": paths.GROUP_VERSION,
        "kind": resource.kind,
        "metadata": {"name": metadata.name} | ({"labels": own} if own else {}),
    }
    return SeenObject(
        resource=resource,
        name=metadata.name,
        version=metadata.resource_version,
        text=msgspec.json.encode(document),
        observed=ObservedObject(metadata.uid, metadata.generation, _conditions(status)),
    )


def entry_of(resource: Resource, document: Mapping[str, Any]) -> tuple[Place, Entry]:
    """Return the place of an object, and what it declares.

    Args:
        resource: The kind of the object.
        document: The object, as `ApiClient` returns it.
    """
    try:
        seen = see(resource, msgspec.json.encode(document))
    except (ValueError, msgspec.MsgspecError, RecursionError):
        place = resource.name
        return place, InvalidCloud(place, Problem("", "is not an object of Kubernetes"))
    return seen.place, seen.entry()


class _Metadata(msgspec.Struct):
    name: str
    uid: str = ""
    generation: int = 0
    resource_version: str = msgspec.field(name="resourceVersion", default="")
    labels: dict[str, str] | None = None


class _Status(msgspec.Struct):
    conditions: msgspec.Raw = msgspec.Raw()


_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_METADATA = msgspec.json.Decoder(_Metadata)
_STATUS = msgspec.json.Decoder(_Status)


def _conditions(status: msgspec.Raw | None) -> bytes:
    """Return the JSON of the conditions; nothing if it is too long."""
    if status is None:
        return b""
    try:
        found = _STATUS.decode(status).conditions
    except msgspec.MsgspecError:  # others may write the status, too
        return b""
    return memoryview(found).tobytes() if len(found) <= MAX_CONDITIONS_BYTES else b""
