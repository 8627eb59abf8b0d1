"""Who is at the other end, read by hand.

A node of Envoy takes 60 kB, nearly all of it extensions that nobody asks about: only what
`xds.source.Node` has is read, and copied out of the message, so that a stream doesn't keep that.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node
"""

import struct
from collections.abc import Mapping

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.source import UNKNOWN_LOCALITY, Locality, Node
from scopeway.xds.steps import STRIDE, Steps, finish

MAX_TEXT_BYTES = 1024
"""Of each text of a node: id, cluster, region, zone, sub_zone, user agent and its version."""
MAX_FEATURES = 64
"""Client features; Envoy has five."""
MAX_METADATA_BYTES = 32 << 10
"""Of a node's encoded metadata."""
MAX_METADATA = 24 << 10
"""Characters of a node's metadata, as paths and texts; Envoys tell some hundred."""
_MAX_METADATA_DEPTH = 16
_MAX_BUILD_BYTES = 4096


def read_node(data: bytes, start: int, end: int) -> Node:
    """Read the Node at these places.

    Raises:
        ValueError: the bytes are none; id or cluster are not UTF-8; a field is longer than it may
            be, which the message names.
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
            leaves = _Leaves()
            leaves.add(_struct(data, begin, stop))
            metadata = leaves.by_path
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
"""What counts of a google.protobuf.Value: a text (also of a number) or a Struct; None: all else."""


def _struct(data: bytes, start: int, end: int, depth: int = 0) -> dict[str, _Value]:
    """Read a google.protobuf.Struct; of a key that stands twice, the last one counts."""
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


class _Leaves:
    """The texts and numbers of a Struct by their dotted paths."""

    def __init__(self) -> None:
        self.by_path: dict[str, str] = {}
        self._size = 0

    def add(self, found: Mapping[str, _Value], above: str = "") -> None:
        """Take in what stands in a Struct whose path is `above`, with a dot behind it.

        Raises:
            ValueError: it is too much; a long key stands in the path of all that is below it, so a
                small request could fill the memory.
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
