"""The other sides of the xDS library, for its tests: a store of resources, what clients say."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import resource
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import PENDING, Found, Node, Pending
from scopeway.xds.steps import Steps
from scopeway.xds.type_urls import (
    CLUSTER,
    ENDPOINT,
    EXTENSION,
    LISTENER,
    ROUTE,
    RUNTIME,
    SCOPED_ROUTE,
    SECRET,
    VIRTUAL_HOST,
)

RESOURCE = "type.googleapis.com/envoy.service.discovery.v3.Resource"
TYPES = {
    "cluster": CLUSTER,
    "endpoint": ENDPOINT,
    "listener": LISTENER,
    "route": ROUTE,
    "scoped_route": SCOPED_ROUTE,
    "virtual_host": VIRTUAL_HOST,
    "secret": SECRET,
    "runtime": RUNTIME,
    "extension": EXTENSION,
}


@dataclass
class Store:
    """A source whose resources are texts, the same for all; a node's group is its cluster."""

    texts: dict[tuple[str, str], str] = field(default_factory=dict)
    ttls: dict[tuple[str, str], float] = field(default_factory=dict)
    wildcards: dict[str, list[str]] = field(default_factory=dict)
    failing: set[str] = field(default_factory=set)
    pending: set[str] = field(default_factory=set)
    """Names of which it doesn't know yet what there is; "*": what the wildcards mean."""
    refused: set[str] = field(default_factory=set)
    outdated: bool = False
    current: set[str] = field(default_factory=set)
    """Names of which it knows the newest version all the same."""
    views: list["View"] = field(default_factory=list)
    steps: int = 0
    """Of making a resource."""

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

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        return self._steps() if self.store.steps else None

    def _steps(self) -> Steps[None]:
        for _ in range(self.store.steps):
            yield

    def resource(self, type_url: str, name: str) -> Found:
        if name in self.store.failing:
            raise ZeroDivisionError(name)
        if name in self.store.pending:
            return PENDING
        text = self.store.texts.get((type_url, name))
        if text is None:
            return None
        after = LISTENER if text.startswith("late:") else None
        ttl = self.store.ttls.get((type_url, name))
        return resource(type_url, name, text.encode(), ttl=ttl, after=after)

    def is_outdated(self, type_url: str, name: str) -> bool:
        return self.store.outdated and name not in self.store.current

    def wildcard(self, type_url: str) -> Collection[str] | Pending:
        if "*" in self.store.pending:
            return PENDING
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
    ttls: dict[str, float] = field(default_factory=dict)
    """Of the resources and heartbeats that have one."""
    beats: dict[str, str] = field(default_factory=dict)
    """The versions in heartbeats."""


@dataclass(frozen=True)
class State:
    """A DiscoveryResponse (state of the world)."""

    type_url: str
    nonce: str
    version_info: str
    texts: list[str]
    ttls: dict[str, float]
    """By text."""


def read_response(data: bytes) -> Received:
    type_url = nonce = ""
    texts: dict[str, str] = {}
    versions: dict[str, str] = {}
    removed: list[str] = []
    ttls: dict[str, float] = {}
    beats: dict[str, str] = {}
    for number, start, end in wire.fields(data):
        value = data[start:end]
        if number == 2:
            envelope = _fields(value)
            name = envelope[3].decode()
            assert name not in texts.keys() | beats.keys(), "the same name twice in one response"
            if 6 in envelope:
                ttls[name] = _seconds(envelope[6])
            if 2 in envelope:
                texts[name] = _fields(envelope[2])[2].decode()
                versions[name] = envelope[1].decode()
            else:
                beats[name] = envelope[1].decode()
        elif number == 4:
            type_url = value.decode()
        elif number == 5:
            nonce = value.decode()
        elif number == 6:
            removed.append(value.decode())
    assert not texts.keys() & set(removed), "a name both sent and removed"
    return Received(type_url, nonce, texts, versions, removed, ttls, beats)


def read_state(data: bytes) -> State:
    found: dict[int, list[bytes]] = {}
    for number, start, end in wire.fields(data):
        found.setdefault(number, []).append(data[start:end])
    type_url = found[4][0].decode()
    texts: list[str] = []
    ttls: dict[str, float] = {}
    for each in found.get(2, []):
        body = _fields(each)
        if body[1].decode() == RESOURCE:
            envelope = _fields(body[2])
            body = _fields(envelope[2])
            ttls[body[2].decode()] = _seconds(envelope[6])
        assert body[1].decode() == type_url
        texts.append(body[2].decode())
    return State(type_url, found[5][0].decode(), found[1][0].decode(), texts, ttls)


def _fields(data: bytes) -> dict[int, bytes]:
    return {number: data[start:end] for number, start, end in wire.fields(data)}


def _seconds(duration: bytes) -> float:
    found = {n: wire.read_varint(duration, s, e)[0] for n, _, s, e in wire.raw_fields(duration)}
    return found.get(1, 0) + found.get(2, 0) / 1e9


def write_node(
    node_id: str, cluster: str, *, features: Iterable[str] = (), agent: str = ""
) -> bytes:
    """Encode a Node."""
    parts = [wire.field_string(1, node_id), wire.field_string(2, cluster)]
    parts += [wire.field_string(10, feature) for feature in features]
    return b"".join([*parts, wire.field_string(6, agent)])


def write_sotw_request(
    type_url: str,
    *,
    node: bytes | None = None,
    names: Iterable[str | bytes] = (),
    version: str = "",
    nonce: str = "",
    error: str | None = None,
) -> bytes:
    """Encode a DiscoveryRequest."""
    parts = [wire.field_string(1, version)]
    if node is not None:
        parts.append(wire.field_bytes(2, node))
    encoded = (name if isinstance(name, bytes) else name.encode() for name in names)
    parts += [wire.field_bytes(3, name) for name in encoded]
    parts += [wire.field_string(4, type_url), wire.field_string(5, nonce)]
    if error is not None:
        parts.append(wire.field_bytes(6, wire.field_varint(1, 13) + wire.field_string(2, error)))
    return b"".join(parts)


def write_request(
    type_url: str,
    *,
    node: tuple[str, str] | bytes | None = None,
    subscribe: Iterable[str | bytes] = (),
    unsubscribe: Iterable[str | bytes] = (),
    versions: Mapping[str, str] | None = None,
    nonce: str = "",
    error: str | None = None,
) -> bytes:
    """Encode a DeltaDiscoveryRequest; `node` is its id and cluster, or all of it."""
    parts = []
    if node is not None:
        encoded_node = node if isinstance(node, bytes) else write_node(*node)
        parts.append(wire.field_bytes(1, encoded_node))
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
