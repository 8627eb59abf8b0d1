"""The messages of the xDS transport protocol, encoded and decoded without a protobuf library.

Encodes resources and responses, and decodes the few fields of a request that a server needs. Does
not know the content of resources, apart from `endpoints_name`.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/discovery/v3/discovery.proto
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import islice
from typing import TypeAlias

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.node import node_steps
from scopeway.xds.errors import MalformedRequestError
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node
from scopeway.xds.steps import LARGE, STRIDE, Steps, finish
from scopeway.xds.text import shown

MAX_NAME_BYTES = 4096
"""The longest resource name."""
MAX_TYPE_BYTES = 256
"""The longest type URL; the longest of Envoy has 94 bytes."""
MAX_NONCE_BYTES = 256
"""The longest nonce; this server sends short numbers."""
MAX_VERSION_BYTES = 256
"""The longest version; this server sends 14 or 16 bytes. A longer one counts as no version."""
MAX_ERROR_BYTES = 4096
"""The message of a NACK is cut to this length; Envoy quotes the bad field in it."""
MAX_NAMES = 40_000
"""Names of one field of a request that are read: twice what a client may be subscribed to."""
_MAX_ERROR_FIELDS = 64
"""Fields of an error that are read; it has three, one of them repeated."""
MIN_TTL = 1.0
"""Seconds."""
_DIGEST = 7
"""Bytes of a version. Its text takes 64 bytes of memory at each stream; with 8 it would take 80."""

_ENTRY_BYTES = 64
"""Bytes of an entry of `initial_resource_versions` besides name and version."""

WILDCARD = "*"

Encoded: TypeAlias = bytes | memoryview
"""A part of an encoded message. A memoryview is a part of a resource, which is not copied."""

# envoy.config.cluster.v3.Cluster
_CLUSTER_TYPE, _EDS_CLUSTER_CONFIG, _SERVICE_NAME, _EDS = 2, 3, 2, 3

# envoy.service.discovery.v3.Resource
_TTL = 6
_RESOURCE = "type.googleapis.com/envoy.service.discovery.v3.Resource"

# DeltaDiscoveryRequest
_NODE, _TYPE_URL, _SUBSCRIBE, _UNSUBSCRIBE, _INITIAL_VERSIONS, _NONCE, _ERROR = 1, 2, 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetail:
    """Why a client rejected a response (`google.rpc.Status`)."""

    code: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeltaRequest:
    """The fields of a DeltaDiscoveryRequest that a session needs."""

    type_url: str
    response_nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    error: ErrorDetail | None = None
    node: Node | None = None
    names_empty: bool = True
    """Whether the fields for names were empty on the wire, also of names that were skipped."""
    skipped: int = 0
    """How many names were left out because they are too long or not UTF-8."""

    @property
    def size(self) -> int:
        """The number of names that the request subscribes and unsubscribes."""
        return len(self.subscribe) + len(self.unsubscribe)


@dataclass(frozen=True, slots=True, kw_only=True)
class SotwRequest:
    """The fields of a DiscoveryRequest (state of the world) that a session needs."""

    type_url: str
    version_info: str = ""
    """The version that the client has; on a new stream, from an earlier stream."""
    response_nonce: str = ""
    names: tuple[str, ...] = ()
    error: ErrorDetail | None = None
    node: Node | None = None
    names_empty: bool = True
    """Whether the field for names was empty on the wire, also of names that were skipped."""
    skipped: int = 0
    """How many names were left out because they are too long or not UTF-8."""

    @property
    def size(self) -> int:
        """Always 0: a request lists all names, so the number of changes is not known."""
        return 0


def resource(
    type_url: str, name: str, body: bytes, *, ttl: float | None = None, after: str | None = None
) -> Resource:
    """Encode a resource once for all streams.

    Args:
        type_url: The type of the resource.
        name: The name of the resource.
        body: The encoded message of that type.
        ttl: Seconds, at least 1, in whole milliseconds: the client drops the resource after this
            time without a server. It is part of the version. None: the client keeps the resource.
        after: See `Resource.after`. It is not part of the version.

    Raises:
        ValueError: the TTL is too short to be refreshed in time.
    """
    digest = blake2b(body, digest_size=_DIGEST)
    if ttl is not None:
        if ttl < MIN_TTL:
            raise ValueError(f"TTL of {ttl:g} s is too short; the minimum is {MIN_TTL:g} s")
        ttl = round(ttl, 3)
        digest = blake2b(body, digest_size=_DIGEST, salt=_duration(ttl))
    return _resource(type_url, name, digest.hexdigest(), body, ttl, after)


def without_ttl(found: Resource) -> Resource:
    """Return the same version of a resource without its TTL, for a client without TTL support."""
    return _resource(found.type_url, found.name, found.version, found.body, None, found.after)


def _resource(
    type_url: str, name: str, version: str, body: bytes, ttl: float | None, after: str | None
) -> Resource:
    message = (wire.field_string(1, type_url), *wire.nested(2, (body,)))
    envelope = (
        wire.field_string(1, version),
        wire.field_string(3, name),
        b"" if ttl is None else wire.field_bytes(_TTL, _duration(ttl)),
        *wire.nested(2, message),
    )
    framed = b"".join(wire.nested(2, envelope))
    return Resource(name, type_url, version, framed, len(body), ttl, after)


def heartbeat(type_url: str, name: str, version: str, ttl: float) -> Resource:
    """Encode a heartbeat, which refreshes a TTL: the resource without its body."""
    envelope = (
        wire.field_string(1, version)
        + wire.field_string(3, name)
        + wire.field_bytes(_TTL, _duration(ttl))
    )
    return Resource(name, type_url, version, wire.field_bytes(2, envelope), 0, ttl)


def _duration(seconds: float) -> bytes:
    """Encode a google.protobuf.Duration."""
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return wire.field_varint(1, whole) + wire.field_varint(2, milliseconds * 1_000_000)


def endpoints_name(cluster: Resource) -> str | None:
    """Return the name of the ClusterLoadAssignment that a Cluster uses; None if it is not EDS."""
    data = cluster.framed
    end = len(data)
    start = end - cluster.body_size
    name = assignment = ""
    found = False
    try:
        for number, wire_type, begin, stop in wire.raw_fields(data, start, end):
            if number == 1 and wire_type == wire.BYTES:
                name = wire.text(data, begin, stop)
            elif number == _CLUSTER_TYPE and wire_type == wire.VARINT:
                found = wire.read_varint(data, begin, stop)[0] == _EDS
            elif number == _EDS_CLUSTER_CONFIG and wire_type == wire.BYTES:
                for inner, first, last in wire.fields(data, begin, stop):
                    if inner == _SERVICE_NAME:
                        assignment = wire.text(data, first, last)
    except ValueError:  # not a Cluster; the client will reject it
        return None
    return (assignment or name) if found else None


def delta_response(
    *, type_url: str, nonce: str, resources: Iterable[Resource], removed: Iterable[str]
) -> list[Encoded]:
    """Return the parts of an encoded DeltaDiscoveryResponse. Resources are not copied."""
    parts: list[Encoded] = [wire.field_string(4, type_url), wire.field_string(5, nonce)]
    parts += [resource.framed for resource in resources]
    parts += [wire.field_string(6, name) for name in removed]
    return parts


def sotw_response(
    *, type_url: str, nonce: str, version_info: str, framed: Iterable[Encoded]
) -> list[Encoded]:
    """Return the parts of an encoded DiscoveryResponse. `framed`: results of `sotw_framed`."""
    parts: list[Encoded] = [
        wire.field_string(1, version_info),
        wire.field_string(4, type_url),
        wire.field_string(5, nonce),
    ]
    parts += framed
    return parts


def sotw_framed(resource: Resource) -> Encoded:
    """Return the encoded field `resources` of a DiscoveryResponse for a resource."""
    if resource.ttl is not None:  # only the wrapper message has a field for the TTL
        ((_, start, end),) = wire.fields(resource.framed)
        return wire.field_bytes(2, wire.any_message(_RESOURCE, resource.framed[start:end]))
    # the Any is the last field of the delta envelope, and has number 2 in both messages
    body = resource.body_size
    contained = len(wire.field_string(1, resource.type_url)) + 1 + len(wire.varint(body)) + body
    return memoryview(resource.framed)[-(1 + len(wire.varint(contained)) + contained) :]


def decode_sotw_request(
    data: bytes,
    *,
    with_node: bool = True,
    max_name_bytes: int = MAX_NAME_BYTES,
    max_names: int = MAX_NAMES,
    type_url: str = "",
) -> SotwRequest:
    """Decode a DiscoveryRequest; arguments and errors as of `decode_delta_request`."""
    return finish(sotw_request_steps(data, with_node, max_name_bytes, max_names, type_url))


def sotw_request_steps(
    data: bytes, with_node: bool, max_name_bytes: int, max_names: int, type_url: str
) -> Steps[SotwRequest]:
    """Do what `decode_sotw_request` does, in steps."""
    try:
        return (yield from _decode_sotw(data, with_node, max_name_bytes, max_names, type_url))
    except ValueError as error:
        raise MalformedRequestError(f"malformed DiscoveryRequest: {error}") from None


def _decode_sotw(
    data: bytes, with_node: bool, max_name_bytes: int, max_names: int, implied: str
) -> Steps[SotwRequest]:
    version = nonce = type_url = ""
    names: list[str] = []
    listed = 0
    error: ErrorDetail | None = None
    node: Node | None = None
    for count, (number, start, end) in enumerate(wire.fields(data), 1):
        if number == 3:
            listed += 1
            name = _name(data, start, end, max_name_bytes)
            if name is not None and (len(names) < max_names or name == WILDCARD):
                names.append(name)
        elif number == 4:
            type_url = _read_type_url(data, start, end)
        elif number == 1:
            version = _version_text(data, start, end)
        elif number == 5:
            nonce = _nonce(data, start, end)
        elif number == 6:
            error = _error(data, start, end)
        elif number == 2 and with_node:
            node = yield from node_steps(data, start, end)
        if not count % STRIDE:
            yield
    return SotwRequest(
        type_url=_type_url(type_url, implied),
        version_info=version,
        response_nonce=nonce,
        names=tuple(names),
        error=error,
        node=node,
        names_empty=not listed,
        skipped=listed - len(names),
    )


def decode_delta_request(
    data: bytes,
    *,
    with_node: bool = True,
    max_name_bytes: int = MAX_NAME_BYTES,
    max_names: int = MAX_NAMES,
    type_url: str = "",
) -> DeltaRequest:
    """Decode a DeltaDiscoveryRequest.

    A name that is too long, not UTF-8 or over the limit is skipped and counted, in any field. A
    client repeats its names on every stream, so an error would end all of its streams.

    Args:
        data: The encoded message.
        with_node: Whether to read the node. Only the first request of a stream needs it.
        max_name_bytes: The longest name in bytes.
        max_names: The most names of each field.
        type_url: The type of the stream, if it carries only one; a request may then leave it out.

    Raises:
        MalformedRequestError: the bytes are no such message, or a field is too long.
    """
    return finish(delta_request_steps(data, with_node, max_name_bytes, max_names, type_url))


def delta_request_steps(
    data: bytes, with_node: bool, max_name_bytes: int, max_names: int, type_url: str
) -> Steps[DeltaRequest]:
    """Do what `decode_delta_request` does, in steps."""
    try:
        return (yield from _decode(data, with_node, max_name_bytes, max_names, type_url))
    except ValueError as error:
        raise MalformedRequestError(f"malformed DeltaDiscoveryRequest: {error}") from None


def _decode(
    data: bytes, with_node: bool, max_name_bytes: int, max_names: int, implied: str
) -> Steps[DeltaRequest]:
    type_url = nonce = ""
    subscribe: list[str] = []
    unsubscribe: list[str] = []
    versions: dict[str, str] = {}
    error: ErrorDetail | None = None
    node: Node | None = None
    names = skipped = 0
    for count, (number, start, end) in enumerate(wire.fields(data), 1):
        if number in (_SUBSCRIBE, _UNSUBSCRIBE):
            names += 1
            name = _name(data, start, end, max_name_bytes)
            field_names = subscribe if number == _SUBSCRIBE else unsubscribe
            if name is None or (len(field_names) >= max_names and name != WILDCARD):
                skipped += 1
            else:
                field_names.append(name)
        elif number == _INITIAL_VERSIONS:
            name, version = _version(data, start, end, max_name_bytes)
            if name is None or len(versions) >= max_names:
                skipped += 1
            elif version is not None:
                versions[name] = version
            if end - start > LARGE:
                yield
        elif number == _TYPE_URL:
            type_url = _read_type_url(data, start, end)
        elif number == _NONCE:
            nonce = _nonce(data, start, end)
        elif number == _ERROR:
            error = _error(data, start, end)
        elif number == _NODE and with_node:
            node = yield from node_steps(data, start, end)
        if not count % STRIDE:
            yield
    if versions:  # names are kept as long as the stream: share the strings of both fields
        same = dict(zip(subscribe, subscribe, strict=True))
        yield
        versions = {same.get(name, name): version for name, version in versions.items()}
        yield
    return DeltaRequest(
        type_url=_type_url(type_url, implied),
        response_nonce=nonce,
        subscribe=tuple(subscribe),
        unsubscribe=tuple(unsubscribe),
        initial_versions=versions,
        error=error,
        node=node,
        names_empty=not names,
        skipped=skipped,
    )


def _read_type_url(data: bytes, start: int, end: int) -> str:
    return wire.bounded("type_url", data, start, end, MAX_TYPE_BYTES).decode()


def _type_url(found: str, implied: str) -> str:
    if implied and found and found != implied:
        raise ValueError(f"the service is for {implied}, but type_url is {shown(found)}")
    if not (found or implied):
        raise ValueError("it has no type_url")
    return found or implied


def _nonce(data: bytes, start: int, end: int) -> str:
    found = wire.bounded("response_nonce", data, start, end, MAX_NONCE_BYTES)
    return found.decode(errors="replace")


def _version_text(data: bytes, start: int, end: int) -> str:
    return wire.text(data, start, end) if end - start <= MAX_VERSION_BYTES else ""


def _name(data: bytes, start: int, end: int, max_bytes: int) -> str | None:
    if end - start > max_bytes:
        return None
    try:
        return data[start:end].decode()
    except UnicodeDecodeError:
        return None


def _version(data: bytes, start: int, end: int, max_bytes: int) -> tuple[str | None, str | None]:
    """Return name and version of an entry; None for each that is too long."""
    if end - start > max_bytes + MAX_VERSION_BYTES + _ENTRY_BYTES:
        return None, None
    name: str | None = ""
    version: str | None = ""
    for number, begin, stop in wire.fields(data, start, end):
        if number == 1:
            name = _name(data, begin, stop, max_bytes)
        elif number == 2:
            fits = stop - begin <= MAX_VERSION_BYTES
            version = wire.text(data, begin, stop) if fits else None
    return name, version


def _error(data: bytes, start: int, end: int) -> ErrorDetail:
    code, message = 0, ""
    for number, wire_type, begin, stop in islice(
        wire.raw_fields(data, start, end), _MAX_ERROR_FIELDS
    ):
        if number == 1 and wire_type == wire.VARINT:
            code = _signed32(wire.read_varint(data, begin, stop)[0])
        elif number == 2 and wire_type == wire.BYTES:
            message = wire.text(data, begin, min(stop, begin + MAX_ERROR_BYTES))
    return ErrorDetail(code=code, message=message)


def _signed32(number: int) -> int:
    """Return the value of an int32 that was read as 64 bits."""
    return ((number & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000
