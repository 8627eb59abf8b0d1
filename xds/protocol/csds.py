"""The messages of the client status discovery service (CSDS).

Reads requests and writes responses, without a protobuf library. A response reports the server's
view of each resource (`config_status`). It never contains the resources: some hold private keys.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/service/status/v3/csds.proto
"""

from typing import Final, TypeAlias

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.errors import MalformedRequestError, ProtocolError
from scopeway.xds.protocol.status import ResourceState
from scopeway.xds.source import Node

SERVICE: Final = "envoy.service.status.v3.ClientStatusDiscoveryService"

_EXACT, _IGNORE_CASE = 1, 6
_PATTERNS: Final = {2: "prefix", 3: "suffix", 5: "safe_regex", 7: "contains", 8: "custom"}
_NODE_METADATAS = 2


def decode_request(data: bytes) -> frozenset[str] | None:
    """Read a ClientStatusRequest; return the requested node ids, or None for all nodes.

    Raises:
        ProtocolError: it uses a matcher that is not supported.
        MalformedRequestError: the bytes are no such message.
    """
    try:
        matchers = [data[start:end] for number, start, end in wire.fields(data) if number == 1]
        ids = [_node_id(f"node_matchers[{i}]", matcher) for i, matcher in enumerate(matchers)]
    except ValueError as error:
        raise MalformedRequestError(f"malformed ClientStatusRequest: {error}") from None
    return frozenset(ids) if ids else None


def _node_id(place: str, matcher: bytes) -> str:
    """Return the node id that a NodeMatcher matches exactly."""
    exact: str | None = None
    for number, start, end in wire.fields(matcher):
        if number == _NODE_METADATAS:
            raise ProtocolError(f"{place}.node_metadatas is not supported; use node_id.exact")
        if number == 1:
            exact = _exact(f"{place}.node_id", matcher[start:end])
    if exact is None:
        raise ProtocolError(f"{place} has no node_id.exact; no other matcher is supported")
    return exact


def _exact(place: str, matcher: bytes) -> str | None:
    """Return the text that a StringMatcher matches exactly."""
    exact: str | None = None
    for number, wire_type, start, end in wire.raw_fields(matcher):
        if number == _EXACT and wire_type == wire.BYTES:
            exact = matcher[start:end].decode()
        elif number == _IGNORE_CASE and wire_type == wire.VARINT:
            if wire.read_varint(matcher, start, end)[0]:
                raise ProtocolError(f"{place}.ignore_case is not supported")
        else:
            what = _PATTERNS.get(number, f"field {number}")
            raise ProtocolError(f"{place}.{what} is not supported; use node_id.exact")
    return exact


_Key: TypeAlias = tuple[str, str, tuple[str, ...] | None]


def _key(node: Node) -> _Key:
    return node.id, node.cluster, node.identities


class ClientStatusReport:
    """Builds a ClientStatusResponse with one ClientConfig for each node.

    The streams of one node share a ClientConfig. A client without ADS has several streams.

    Args:
        limit: The largest response, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._configs: dict[_Key, list[bytes]] = {}

    def add_node(self, node: Node) -> None:
        """Add a node that has a stream. Raises as `add_resource`."""
        key = _key(node)
        if key not in self._configs:
            self._configs[key] = []
            self._append(
                key,
                wire.field_bytes(
                    1, _optional_string(1, node.id) + _optional_string(2, node.cluster)
                ),
            )

    def add_resource(self, node: Node, state: ResourceState) -> None:
        """Add a resource of a stream of `node`. Call `add_node` first.

        Raises:
            ProtocolError: the response would be larger than the limit.
        """
        self._append(_key(node), wire.field_bytes(3, _generic_xds_config(state)))

    def encode(self) -> bytes:
        """Return the message, with the nodes in the order in which they were added."""
        return b"".join(wire.field_bytes(1, b"".join(parts)) for parts in self._configs.values())

    def _append(self, key: _Key, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise ProtocolError(
                f"the response would have more than {self._limit} bytes: request fewer nodes with"
                " node_matchers[].node_id.exact",
                status="RESOURCE_EXHAUSTED",
            )
        self._configs[key].append(part)


def _generic_xds_config(state: ResourceState) -> bytes:
    parts = [
        _optional_string(1, state.type_url),
        _optional_string(2, state.name),
        _optional_string(3, state.version),
    ]
    if state.status:
        parts.append(wire.field_varint(6, state.status))
    if state.rejection is not None:
        failure = _optional_string(3, state.rejection.message) + _optional_string(
            4, state.rejection.version
        )
        parts.append(wire.field_bytes(8, failure))
    return b"".join(parts)


def _optional_string(number: int, text: str) -> bytes:
    return wire.field_string(number, text) if text else b""
