"""Who is at the other end, read by hand.

A node of Envoy takes 60 kB, nearly all of it extensions that nobody asks about: only what
`xds.source.Node` has is read, and copied out of the message, so that a stream doesn't keep that.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node
"""

import struct

from xds import wire
from xds.source import NOWHERE, Locality, Node

_MAX_METADATA_DEPTH = 16


def read_node(data: bytes, start: int, end: int) -> Node:
    """Read the Node at these places.

    Raises:
        ValueError: the bytes are none, or its id or cluster is not UTF-8.
    """
    node_id = cluster = agent = version = ""
    metadata: dict[str, str] = {}
    locality = NOWHERE
    features: list[str] = []
    for number, begin, stop in wire.fields(data, start, end):
        if number == 1:
            node_id = data[begin:stop].decode()
        elif number == 2:
            cluster = data[begin:stop].decode()
        elif number == 3:
            _collect_leaves(data, begin, stop, (), metadata)
        elif number == 4:
            locality = _locality(data, begin, stop)
        elif number == 6:
            agent = wire.text(data, begin, stop)
        elif number == 7:
            version = wire.text(data, begin, stop)
        elif number == 8:
            version = _build_version(data, begin, stop)
        elif number == 10:
            features.append(wire.text(data, begin, stop))
    user_agent = "/".join(part for part in (agent, version) if part)
    return Node(
        id=node_id,
        cluster=cluster,
        metadata=metadata,
        locality=locality,
        user_agent=user_agent,
        client_features=frozenset(features),
    )


def _locality(data: bytes, start: int, end: int) -> Locality:
    parts = {1: "", 2: "", 3: ""}
    for number, begin, stop in wire.fields(data, start, end):
        if number in parts:
            parts[number] = wire.text(data, begin, stop)
    return Locality(region=parts[1], zone=parts[2], sub_zone=parts[3])


def _build_version(data: bytes, start: int, end: int) -> str:
    """Return the numbers of an envoy.config.core.v3.BuildVersion: "1.40.0"."""
    numbers = [0, 0, 0]
    for number, begin, stop in wire.fields(data, start, end):
        if number == 1:  # the envoy.type.v3.SemanticVersion
            for part, wire_type, first, last in wire.raw_fields(data, begin, stop):
                if 1 <= part <= 3 and wire_type == wire.VARINT:
                    numbers[part - 1], _ = wire.read_varint(data, first, last)
    return ".".join(map(str, numbers))


def _collect_leaves(
    data: bytes, start: int, end: int, path: tuple[str, ...], into: dict[str, str]
) -> None:
    """Put the strings and numbers of a google.protobuf.Struct `into` by their dotted paths."""
    if len(path) >= _MAX_METADATA_DEPTH:
        return
    for number, begin, stop in wire.fields(data, start, end):
        if number != 1:
            continue
        key, value = "", (0, 0)
        for part, part_start, part_end in wire.fields(data, begin, stop):
            if part == 1:
                key = wire.text(data, part_start, part_end)
            elif part == 2:
                value = part_start, part_end
        _collect_value(data, *value, (*path, key), into)


def _collect_value(
    data: bytes, start: int, end: int, path: tuple[str, ...], into: dict[str, str]
) -> None:
    for number, wire_type, begin, stop in wire.raw_fields(data, start, end):
        if number == 2 and wire_type == wire.FIXED64:
            (double,) = struct.unpack_from("<d", data, begin)
            into[".".join(path)] = repr(double).removesuffix(".0")
        elif number == 3 and wire_type == wire.BYTES:
            into[".".join(path)] = wire.text(data, begin, stop)
        elif number == 5 and wire_type == wire.BYTES:
            _collect_leaves(data, begin, stop, path, into)
