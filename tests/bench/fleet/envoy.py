"""What an Envoy says on its stream of delta ADS, byte for byte but for the node's details.

Owns one client's subscriptions and what it holds. Does no I/O: requests are returned. Independent
of `xds`, which it measures; but for the wire format.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from scopeway.xds.encoding import protobuf as wire

_PREFIX = "type.googleapis.com/envoy.config."
CLUSTER = f"{_PREFIX}cluster.v3.Cluster"
LISTENER = f"{_PREFIX}listener.v3.Listener"
ROUTE = f"{_PREFIX}route.v3.RouteConfiguration"
EXTENSION = f"{_PREFIX}core.v3.TypedExtensionConfig"
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"

EXTENSIONS = 516
"""An Envoy 1.40 lists as many in its node, in some 61 kB."""
FRONTED = ("front", "peer")
"""The routes and filters that its listeners refer to."""


@dataclass(frozen=True, slots=True)
class Response:
    """A DeltaDiscoveryResponse."""

    type_url: str
    nonce: str
    versions: Mapping[str, str]
    """Of the resources in it, by name."""
    removed: tuple[str, ...]


@dataclass(slots=True)
class Envoy:
    """The client of one stream; outlives it, as a process does its connections."""

    cloud: str
    held: dict[str, dict[str, str]] = field(default_factory=dict)
    """Type URL to name to version."""
    targets: set[str] = field(default_factory=set)
    """The clusters that were subscribed on demand."""

    def connect(self) -> list[bytes]:
        """Return the requests that open a stream: all that there is to say, or only the first."""
        first = wire.field_bytes(1, node(self.cloud)) + self._opening(CLUSTER, self.targets)
        if not self.held:
            return [first]
        return [
            first,
            self._opening(LISTENER, ()),
            self._opening(ROUTE, self.held.get(ROUTE, ())),
            self._opening(EXTENSION, self.held.get(EXTENSION, ())),
        ]

    def use(self, names: Iterable[str]) -> bytes:
        """Return the request for clusters on demand."""
        names = list(names)
        self.targets.update(names)
        return _request(CLUSTER, subscribe=names)

    def take(self, response: Response) -> list[bytes]:
        """Return what is to be said to a response: the ACK, and what it makes necessary."""
        held = self.held.get(response.type_url)
        first = held is None
        if held is None:
            held = self.held[response.type_url] = {}
        held.update(response.versions)
        for name in response.removed:
            held.pop(name, None)
        requests = [_request(response.type_url, nonce=response.nonce)]
        if first and response.type_url == CLUSTER:
            requests.append(_request(LISTENER))
        elif first and response.type_url == LISTENER:
            requests.append(_request(ROUTE, subscribe=FRONTED))
            requests.append(_request(EXTENSION, subscribe=[f"lua/{name}" for name in FRONTED]))
        return requests

    @property
    def complete(self) -> bool:
        """Whether it has been told of every type, and has all targets that it uses."""
        return len(self.held) == 4 and self.targets <= self.held[CLUSTER].keys()

    def _opening(self, type_url: str, names: Iterable[str]) -> bytes:
        names = sorted(names)
        wildcard = type_url in (CLUSTER, LISTENER)
        return _request(
            type_url,
            # the wildcard is silent where nothing else is named
            subscribe=["*", *names] if wildcard and names else names,
            versions=self.held.get(type_url, {}),
        )


def read(data: bytes) -> Response:
    """Read a response."""
    type_url = nonce = ""
    versions: dict[str, str] = {}
    removed: list[str] = []
    for number, start, end in wire.fields(data):
        if number == 2:
            name = version = ""
            for part, begin, stop in wire.fields(data, start, end):
                if part == 1:
                    version = data[begin:stop].decode()
                elif part == 3:
                    name = data[begin:stop].decode()
            versions[name] = version
        elif number == 4:
            type_url = data[start:end].decode()
        elif number == 5:
            nonce = data[start:end].decode()
        elif number == 6:
            removed.append(data[start:end].decode())
    return Response(type_url, nonce, versions, tuple(removed))


def node(cloud: str) -> bytes:
    """Return a node as long and as deep as that of an Envoy."""
    metadata = _struct({"scopeway": _struct_value({"protocol": _string("1")})})
    return (
        wire.field_string(1, f"{cloud}/envoy")
        + wire.field_string(2, cloud)
        + wire.field_bytes(3, metadata)
        + wire.field_string(6, "envoy")
        + _EXTENSIONS
    )


def _request(
    type_url: str,
    *,
    subscribe: Iterable[str] = (),
    versions: Mapping[str, str] | None = None,
    nonce: str = "",
) -> bytes:
    parts = [wire.field_string(2, type_url)]
    parts += [wire.field_string(3, name) for name in subscribe]
    parts += [
        wire.field_bytes(5, wire.field_string(1, name) + wire.field_string(2, version))
        for name, version in (versions or {}).items()
    ]
    if nonce:
        parts.append(wire.field_string(6, nonce))
    return b"".join(parts)


def _struct(values: Mapping[str, bytes]) -> bytes:
    return b"".join(
        wire.field_bytes(1, wire.field_string(1, key) + wire.field_bytes(2, value))
        for key, value in values.items()
    )


def _struct_value(values: Mapping[str, bytes]) -> bytes:
    return wire.field_bytes(5, _struct(values))


def _string(text: str) -> bytes:
    return wire.field_string(3, text)


_EXTENSIONS = b"".join(
    wire.field_bytes(
        9,
        wire.field_string(1, f"envoy.filters.http.extension_{number:03}")
        + wire.field_string(2, "envoy.filters.http")
        + wire.field_string(6, f"envoy.extensions.filters.http.ext{number:03}.v3.Config"),
    )
    for number in range(EXTENSIONS)
)
