"""The messages of CSDS: whose status is asked for, and what each node runs.

Pure, and by hand as in `xds.encoding.messages`. What is reported is the server's view
(`config_status`); the content of resources never is, since keys are among them.

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
    """Read a ClientStatusRequest; return the ids of the nodes that it asks for, None: of all.

    Raises:
        ProtocolError: it matches nodes in a way that isn't served.
        MalformedRequestError: the bytes are no such message.
    """
    try:
        matchers = [data[start:end] for number, start, end in wire.fields(data) if number == 1]
        ids = [_node_id(f"node_matchers[{i}]", matcher) for i, matcher in enumerate(matchers)]
    except ValueError as error:
        raise MalformedRequestError(f"malformed ClientStatusRequest: {error}") from None
    return frozenset(ids) if ids else None


def _node_id(place: str, matcher: bytes) -> str:
    """Return what a NodeMatcher wants a node's id to be."""
    exact: str | None = None
    for number, start, end in wire.fields(matcher):
        if number == _NODE_METADATAS:
            raise ProtocolError(f"{place}.node_metadatas is not served: only node_id.exact is")
        if number == 1:
            exact = _exact(f"{place}.node_id", matcher[start:end])
    if exact is None:
        raise ProtocolError(f"{place} has no node_id.exact, and no other match is served")
    return exact


def _exact(place: str, matcher: bytes) -> str | None:
    """Return the text that a StringMatcher wants."""
    exact: str | None = None
    for number, wire_type, start, end in wire.raw_fields(matcher):
        if number == _EXACT and wire_type == wire.BYTES:
            exact = matcher[start:end].decode()
        elif number == _IGNORE_CASE and wire_type == wire.VARINT:
            if wire.read_varint(matcher, start, end)[0]:
                raise ProtocolError(f"{place}.ignore_case is not served")
        else:
            what = _PATTERNS.get(number, f"field {number}")
            raise ProtocolError(f"{place}.{what} is not served: only node_id.exact is")
    return exact


_Key: TypeAlias = tuple[str, str, tuple[str, ...] | None]


def _key(node: Node) -> _Key:
    return node.id, node.cluster, node.identities


class ClientStatusReport:
    """A ClientStatusResponse in the making: a ClientConfig for each node.

    Streams of one node, as a client without ADS opens them, go together.

    Args:
        limit: The largest response, in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._configs: dict[_Key, list[bytes]] = {}

    def add_node(self, node: Node) -> None:
        """Take in that `node` has a stream; errors as of `add_resource`."""
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
        """Take in a resource of a stream of `node`, which `add_node` has added.

        Raises:
            ProtocolError: the response would get too large.
        """
        self._append(_key(node), wire.field_bytes(3, _generic_xds_config(state)))

    def encode(self) -> bytes:
        """Return the message, the nodes in the order in which they were first added."""
        return b"".join(wire.field_bytes(1, b"".join(parts)) for parts in self._configs.values())

    def _append(self, key: _Key, part: bytes) -> None:
        self._size += len(part)
        if self._size > self._limit:
            raise ProtocolError(
                f"the status would take more than {self._limit} bytes: ask for fewer nodes, by"
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
