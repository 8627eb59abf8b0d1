"""The other sides of the xDS library, for its tests: a store of resources, a delta client."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from xds import wire
from xds.codec import resource
from xds.errors import ProtocolError
from xds.resource import Resource
from xds.source import Node
from xds.types import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE

TYPES = {
    "cluster": CLUSTER,
    "endpoint": ENDPOINT,
    "listener": LISTENER,
    "route": ROUTE,
    "extension": EXTENSION,
}


@dataclass
class Store:
    """A source whose resources are texts, the same for all; a node's group is its cluster."""

    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    wildcards: dict[str, list[str]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    views: list["View"] = field(default_factory=list)

    def type_urls(self) -> Collection[str]:
        return TYPES.values()

    def attach(self, node: Node) -> "View":
        if node.id in self.refused:
            raise ProtocolError(f"node {node.id} is not known here", status="PERMISSION_DENIED")
        view = View(self, node)
        self.views.append(view)
        return view


@dataclass
class View:
    store: Store
    node: Node
    closed: bool = False

    @property
    def group(self) -> str:
        return self.node.cluster

    def resource(self, type_url: str, name: str) -> Resource | None:
        if name in self.store.failing:
            raise ZeroDivisionError(name)
        text = self.store.texts.get((type_url, name))
        return None if text is None else resource(type_url, name, text.encode())

    def wildcard(self, type_url: str) -> Collection[str]:
        return self.store.wildcards.get(type_url, [])

    def close(self) -> None:
        self.closed = True


@dataclass(frozen=True)
class Received:
    """A DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    texts: dict[str, str]
    versions: dict[str, str]
    removed: list[str]


def read_response(data: bytes) -> Received:
    type_url = nonce = ""
    texts: dict[str, str] = {}
    versions: dict[str, str] = {}
    removed: list[str] = []
    for number, start, end in wire.fields(data):
        value = data[start:end]
        if number == 2:
            envelope = {n: value[s:e] for n, s, e in wire.fields(value)}
            body = {n: envelope[2][s:e] for n, s, e in wire.fields(envelope[2])}
            name = envelope[3].decode()
            assert name not in texts, "the same name twice in one response"
            texts[name] = body[2].decode()
            versions[name] = envelope[1].decode()
        elif number == 4:
            type_url = value.decode()
        elif number == 5:
            nonce = value.decode()
        elif number == 6:
            removed.append(value.decode())
    assert not texts.keys() & set(removed), "a name both sent and removed"
    return Received(type_url, nonce, texts, versions, removed)


def write_request(
    type_url: str,
    *,
    node: tuple[str, str] | None = None,
    subscribe: Iterable[str | bytes] = (),
    unsubscribe: Iterable[str | bytes] = (),
    versions: Mapping[str, str] | None = None,
    nonce: str = "",
    error: str | None = None,
) -> bytes:
    """Encode a DeltaDiscoveryRequest; `node` is its id and cluster."""
    parts = []
    if node is not None:
        parts.append(
            wire.field_bytes(1, wire.field_string(1, node[0]) + wire.field_string(2, node[1]))
        )
    if type_url:
        parts.append(wire.field_string(2, type_url))
    for number, names in ((3, subscribe), (4, unsubscribe)):
        encoded = (name if isinstance(name, bytes) else name.encode() for name in names)
        parts.extend(wire.field_bytes(number, name) for name in encoded)
    for name, version in (versions or {}).items():
        parts.append(
            wire.field_bytes(5, wire.field_string(1, name) + wire.field_string(2, version))
        )
    if nonce:
        parts.append(wire.field_string(6, nonce))
    if error is not None:
        parts.append(wire.field_bytes(7, wire.field_varint(1, 13) + wire.field_string(2, error)))
    return b"".join(parts)
