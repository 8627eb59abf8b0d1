"""The source of a server's resources: the protocols that a user of this library implements.

All methods must be quick, as they run on the server's event loop; `NodeView.resource` may be a
coroutine. The server calls `resource` only for resources that it is about to send. To change a
resource, first make the new state visible to `resource`, then call the notifier
(`xds.notifier.ChangeNotifier`).

Errors: if `resource` raises, the client does not get that resource, and the lookup is repeated
later. Any other error ends the stream: with the status of a `xds.errors.ProtocolError`, else with
INTERNAL.
"""

from collections.abc import Awaitable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, Protocol, TypeAlias, runtime_checkable

from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps


class Pending(Enum):
    """The type of `PENDING`."""

    PENDING = "pending"


PENDING: Final = Pending.PENDING
"""A `NodeView` returns it for what it does not know yet. The client waits and is sent nothing; call
the `ChangeNotifier` when it is known."""

Found: TypeAlias = Resource | Pending | None
"""A resource, None if it does not exist, or PENDING if that is not known yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Locality:
    """Where a client runs (`envoy.config.core.v3.Locality`). Unknown parts are ""."""

    region: str = ""
    zone: str = ""
    sub_zone: str = ""


UNKNOWN_LOCALITY: Final = Locality()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The client of a stream (`envoy.config.core.v3.Node`)."""

    id: str
    cluster: str
    """The service that the client is part of; not a `Cluster` resource."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """The strings and numbers of `metadata` by dotted path: `{"site": {"zone": "b", "n": 2}}`
    becomes `{"site.zone": "b", "site.n": "2"}`. Booleans, lists and values below 16 levels are left
    out. `xds.encoding.node.MAX_METADATA` limits the size."""
    locality: Locality = UNKNOWN_LOCALITY
    """Where the client runs."""
    user_agent: str = ""
    """`user_agent_name` and `user_agent_version` or `user_agent_build_version`: "envoy/1.40.0". A
    part that the client does not send is left out."""
    client_features: frozenset[str] = frozenset()
    """The features that the client supports ("xds.config.supports-resource-ttl")."""
    identities: tuple[str, ...] | None = None
    """The URIs in the client certificate, verified by TLS. The client only claims all other fields.
    None: the server does not use TLS."""


class NodeView(Protocol):
    """The resources that one stream sees. `Source.attach` returns it.

    Streams may share a view. A source that shows all nodes the same may be its own view.
    """

    @property
    def group(self) -> str:
        """The group of the node, for changes that concern one group (`ChangeNotifier`).

        For example the site of the nodes, or their kind. Read once for each stream.
        """

    def resource(self, type_url: str, name: str) -> Found | Awaitable[Found]:
        """Return the resource, or None if it does not exist; the client is told so.

        The resource must have this name. Called for every stream, whenever the resource may have to
        be sent, so cache what is expensive. Resources of the same version must be equal.

        It may answer later: as an `async def`, or with `PENDING`. The other resources are sent at
        once. Nothing is sent for this one until the coroutine returns, or the notifier reports a
        change. At most `Limits.lookups` coroutines of a stream run at a time. A coroutine is
        cancelled if the client does not want the name any more. If the resource changes while the
        coroutine runs, its result is dropped, and `resource` is called again. In state of the
        world, a response of clusters, listeners or scoped routes leaves out what is not known yet;
        it is not sent if that would remove a resource from the client.
        """

    def wildcard(self, type_url: str) -> Collection[str] | Pending:
        """Return the names that a wildcard subscription of this node means now.

        Return no names if clients request the type by name only, as Envoy does for endpoints,
        routes and secrets. Called when a client subscribes to the wildcard, and after
        `ChangeNotifier.wildcard_changed`.
        If it returns `PENDING`, a new client gets no response yet, and other clients keep their
        resources.
        """

    def close(self) -> None:
        """Release the view: the stream has ended. Called once for each `Source.attach`."""


@runtime_checkable
class KnowsVersions(Protocol):
    """An option for a `NodeView` that can check a version without making the resource.

    A returning client on delta reports the versions that it has, and most are current.
    """

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        """Return whether `resource` would return this version. Must not raise.

        Return False if that is not known; then `resource` is called. Return False for a resource
        with a TTL. If True, the client counts as one that has the resource.
        """


@runtime_checkable
class MakesInSteps(Protocol):
    """An option for a `NodeView` that takes milliseconds to make a resource.

    Other work runs between the steps, so resources may change meanwhile.
    """

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        """Do the slow part of `resource` in steps; `resource` is called right afterwards.

        Return None if there is no slow part. An error counts as an error of `resource`.
        """


@runtime_checkable
class AttachesInSteps(Protocol):
    """An option for a `Source` that takes milliseconds to attach a node."""

    def prepare(self, node: Node) -> Steps[None]:
        """Do the slow part of `attach` in steps; `attach` is called right afterwards."""


@runtime_checkable
class MayBeOutdated(Protocol):
    """An option for a `NodeView` whose source can lose the connection to its data.

    While the source is outdated, another server may have newer resources. A client that connects
    then keeps the resources that it reports: they are not replaced or removed, as a version does
    not say which resource is newer. The client is sent the resources that it requests and does not
    have. `ChangeNotifier.caught_up` ends this.
    """

    def is_outdated(self, type_url: str, name: str) -> bool:
        """Return whether another server may have a newer version of a resource.

        The name "*" asks about the names that the wildcard means. Called often, so it must be
        quick. Must not raise.
        """


class Source(Protocol):
    """All resources of a server."""

    def type_urls(self) -> Collection[str]:
        """Return the type URLs that are served. See `xds.type_urls`."""

    def attach(self, node: Node) -> NodeView:
        """Return the view of a stream, once its node is known.

        A node may have several streams. Each calls `attach`.

        Raises:
            xds.errors.ProtocolError: the node is not served. The stream ends with the status.
        """
