"""Decodes the node of a client.

A node of Envoy has 60 kB, nearly all of it a list of extensions. Only the fields of
`xds.source.Node` are read, and copied, so that a stream does not keep the message.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node
"""

import struct
from collections.abc import Mapping

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.source import UNKNOWN_LOCALITY, Locality, Node
from scopeway.xds.steps import STRIDE, Steps, finish

MAX_TEXT_BYTES = 1024
"""Bytes of each text of a node: id, cluster, region, zone, sub_zone, user agent, its version."""
MAX_FEATURES = 64
"""The most client features; Envoy has five."""
MAX_METADATA_BYTES = 32 << 10
"""Bytes of the encoded metadata of a node."""
MAX_METADATA = 24 << 10
"""Characters of the metadata of a node, as paths and texts; Envoy sends some hundred."""
_MAX_METADATA_DEPTH = 16
_MAX_BUILD_BYTES = 4096


def read_node(data: bytes, start: int, end: int) -> Node:
    """Decode the Node in `data[start:end]`.

    Raises:
        ValueError: the bytes are no Node, id or cluster is not UTF-8, or a field is too long; the
            message names the field.
    """
    return finish(node_steps(data, start, end))


def node_steps(data: bytes, start: int, end: int) -> Steps[Node]:
    """Do what `read_node` does, in steps."""
    node_id = cluster = agent = version = ""
    metadata: dict[str, str] = {}
    locality = UNKNOWN_LOCALITY
    features: dict[str, None] = {}
    for count, (number, begin, stop) in enumerate(wire.fields(data, start, end), 1):
        if number == 1:
            node_id = _bounded("node.id", data, begin, stop).decode()
        elif number == 2:
            cluster = _bounded("node.cluster", data, begin, stop).decode()
        elif number == 3:
            wire.check_length("node.metadata", begin, stop, MAX_METADATA_BYTES)
            flat = _FlatMetadata()
            flat.add(_struct(data, begin, stop))
            metadata = flat.by_path
            yield
        elif number == 4:
            locality = _locality(data, begin, stop)
            yield
        elif number == 6:
            agent = _text("node.user_agent_name", data, begin, stop)
        elif number == 7:
            version = _text("node.user_agent_version", data, begin, stop)
        elif number == 8:
            version = _build_version(data, begin, stop)
            yield
        elif number == 10:
            features[_text("node.client_features", data, begin, stop)] = None
            if len(features) > MAX_FEATURES:
                raise ValueError(f"node.client_features has more than {MAX_FEATURES} entries")
        if not count % STRIDE:
            yield
    user_agent = "/".join(part for part in (agent, version) if part)
    return Node(
        id=node_id,
        cluster=cluster,
        metadata=metadata,
        locality=locality,
        user_agent=user_agent,
        client_features=frozenset(features),
    )


def _bounded(field: str, data: bytes, start: int, end: int) -> bytes:
    return wire.bounded(field, data, start, end, MAX_TEXT_BYTES)


def _text(field: str, data: bytes, start: int, end: int) -> str:
    return _bounded(field, data, start, end).decode(errors="replace")


def _locality(data: bytes, start: int, end: int) -> Locality:
    wire.check_length("node.locality", start, end, 4 * MAX_TEXT_BYTES)
    names = {1: "region", 2: "zone", 3: "sub_zone"}
    parts = {1: "", 2: "", 3: ""}
    for number, begin, stop in wire.fields(data, start, end):
        if number in parts:
            parts[number] = _text(f"node.locality.{names[number]}", data, begin, stop)
    return Locality(region=parts[1], zone=parts[2], sub_zone=parts[3])


def _build_version(data: bytes, start: int, end: int) -> str:
    """Return the numbers of an envoy.config.core.v3.BuildVersion: "1.40.0"."""
    wire.check_length("node.user_agent_build_version", start, end, _MAX_BUILD_BYTES)
    numbers = [0, 0, 0]
    for number, begin, stop in wire.fields(data, start, end):
        if number == 1:  # the envoy.type.v3.SemanticVersion
            for part, wire_type, first, last in wire.raw_fields(data, begin, stop):
                if 1 <= part <= 3 and wire_type == wire.VARINT:
                    numbers[part - 1] = wire.read_varint(data, first, last)[0] & 0xFFFFFFFF
    return ".".join(map(str, numbers))


_Value = str | dict[str, "_Value"] | None
"""A google.protobuf.Value: a text (also for a number) or a Struct; None for all other kinds."""


def _struct(data: bytes, start: int, end: int, depth: int = 0) -> dict[str, _Value]:
    """Decode a google.protobuf.Struct. If a key occurs twice, the last one counts."""
    found: dict[str, _Value] = {}
    if depth >= _MAX_METADATA_DEPTH:
        return found
    for number, begin, stop in wire.fields(data, start, end):
        if number != 1:
            continue
        key, value = "", (0, 0)
        for part, part_start, part_end in wire.fields(data, begin, stop):
            if part == 1:
                key = wire.text(data, part_start, part_end)
            elif part == 2:
                value = part_start, part_end
        found[key] = _value(data, *value, depth)
    return found


def _value(data: bytes, start: int, end: int, depth: int) -> _Value:
    value: _Value = None
    for number, wire_type, begin, stop in wire.raw_fields(data, start, end):
        match number, wire_type:
            case 2, wire.FIXED64:
                (double,) = struct.unpack_from("<d", data, begin)
                value = repr(double).removesuffix(".0")
            case 3, wire.BYTES:
                value = wire.text(data, begin, stop)
            case 5, wire.BYTES:
                value = value if isinstance(value, dict) else {}
                value.update(_struct(data, begin, stop, depth + 1))
            case (1 | 4, wire.VARINT) | (6, wire.BYTES):
                value = None
    return value


class _FlatMetadata:
    """The texts and numbers of a Struct by dotted path."""

    def __init__(self) -> None:
        self.by_path: dict[str, str] = {}
        self._size = 0

    def add(self, found: Mapping[str, _Value], above: str = "") -> None:
        """Add the values of a Struct. `above` is its path, with a dot at the end.

        Raises:
            ValueError: paths and texts are too long. A long key is part of the path of all values
                below it, so a small request could fill the memory.
        """
        for key, value in found.items():
            if value is None:
                continue
            self._size += len(above) + len(key) + (len(value) if isinstance(value, str) else 0)
            if self._size > MAX_METADATA:
                raise ValueError(f"node.metadata has more than {MAX_METADATA} characters")
            if isinstance(value, str):
                self.by_path[above + key] = value
            else:
                self.add(value, f"{above}{key}.")
