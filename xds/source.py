"""Where a server's resources come from: the protocols that a user of this library implements.

All methods are synchronous and quick: on the server's event loop they look up or compile in memory.
The server never asks for more than it sends. Ordering: the implementer first makes the new state
visible to `resource`, then tells the notifier what changed (`xds.notifier.ChangeNotifier`); never
the other way round.

Errors: what `resource` raises costs the client that resource only, and it is asked again after some
time; what anything else here raises ends the stream, with INTERNAL if it is no
`xds.errors.ProtocolError`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, runtime_checkable

from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """Where a client runs (`envoy.config.core.v3.Locality`); "" is what it doesn't tell."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


UNKNOWN_LOCALITY: Final = Locality()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Who is at the other end of a stream (`envoy.config.core.v3.Node`)."""

    id: str
    cluster: str
    """The service that the client is part of; no resource."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The strings and numbers of `metadata`, by dotted path: of `{"site": {"zone": "b", "n": 2}}`
    `{"site.zone": "b", "site.n": "2"}`. Booleans and lists are left out, and what lies deeper than
    16 levels; `xds.encoding.node.MAX_METADATA` says how much there may be."""
    locality: Locality = UNKNOWN_LOCALITY
    """Where the client runs."""
    user_agent: str = ""
    """`user_agent_name` and `user_agent_version` or `user_agent_build_version`, "envoy/1.40.0"; as
    much of it as the client tells."""
    client_features: frozenset[str] = frozenset()
    """What the client says that it can do ("xds.config.supports-resource-ttl")."""
    identities: tuple[str, ...] | None = None
    """The URIs in the client's certificate, proven by TLS; all else here is only claimed. None:
    the channel proves nothing."""


class NodeView(Protocol):
    """The resources as one stream sees them; made when the stream's node is known.

    Several streams may share one, and a source that shows all nodes the same may be its own view.
    """

    @property
    def group(self) -> str:
        """The group of nodes that this node belongs to (`ChangeNotifier` tells a group).

        Whatever nodes have in common, such as their site or their kind. Asked once a stream.
        """

    def resource(self, type_url: str, name: str) -> Resource | None:
        """Return the resource, or None where there is none by that name (the client is told so).

        Its `name` is the one asked for. Asked for every stream, whenever it may have to be sent, so
        what costs something to make is worth keeping. Equal versions are taken for equal resources.
        """

    def wildcard(self, type_url: str) -> Collection[str]:
        """Return the names that a wildcard subscription of this node means now.

        None at all where a type is had by name only, as endpoints, routes and secrets are by Envoy.
        Asked when a client takes the wildcard, and after `ChangeNotifier.wildcard_changed`.
        """

    def close(self) -> None:
        """The stream has ended, and asks no more; called once for each `Source.attach`."""


@runtime_checkable
class KnowsVersions(Protocol):
    """What a `NodeView` may have besides, where making a resource costs more than its version.

    A client that comes back on delta says which versions it has, and most are current.
    """

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        """Return whether this is the version of the resource that `resource` would return.

        False where it isn't known: then `resource` is asked. Raises nothing. The client counts as
        one that has the resource. Never True for a resource with a TTL.
        """


@runtime_checkable
class MakesInSteps(Protocol):
    """What a `NodeView` may have besides, where making a resource takes milliseconds.

    Others have their turn between the steps, so something may change meanwhile.
    """

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        """Do, in steps, what takes long of `resource`, which is asked right afterwards.

        None: nothing does. What it raises counts as raised by `resource`.
        """


@runtime_checkable
class AttachesInSteps(Protocol):
    """What a `Source` may have besides, where to attach a node takes milliseconds."""

    def prepare(self, node: Node) -> Steps[None]:
        """Do, in steps, what takes long of `attach`, which follows at once; raises the same."""


@runtime_checkable
class MayBeOutdated(Protocol):
    """What a `NodeView` may have besides, where its source can lose touch with what it reads from.

    While it is outdated, another server may know more. A client that connects then keeps what it
    reports: nothing of it is replaced or removed, since versions tell only equal from different. It
    is sent what it asks for and does not have. `ChangeNotifier.caught_up` ends that.
    """

    def is_outdated(self, type_url: str, name: str) -> bool:
        """Return whether another server may know a newer version of a resource.

        `name` is "*" for what a wildcard means. Asked often, so it must be quick. Raises nothing.
        """


class Source(Protocol):
    """All resources of a server."""

    def type_urls(self) -> Collection[str]:
        """Return the types that are served; of others nothing exists. See `xds.type_urls`."""

    def attach(self, node: Node) -> NodeView:
        """Return the view of a stream that has just named its node.

        A node may have several streams, each with a view.

        Raises:
            xds.errors.ProtocolError: this node is not served; ends the stream with its status.
        """
