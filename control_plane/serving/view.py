"""What one stream may ask for, and which targets it does use.

What there is, and what it means that a stream uses something, is for the source to say
(`control_plane.serving.source`), which makes a view for each stream.
"""

from collections.abc import Collection, Mapping
from typing import Protocol

from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.translator.names import PEER
from scopeway.control_plane.translator.node_identity import from_metadata
from scopeway.control_plane.translator.node_setup import Setup, setup_of
from scopeway.control_plane.translator.secrets import identity_secrets
from scopeway.xds.encoding.messages import resource
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node
from scopeway.xds.steps import Steps
from scopeway.xds.type_urls import CLUSTER, ROUTE, SECRET


class ResourceLookup(Protocol):
    """The source of a view."""

    def cluster_for(self, view: "StreamView", name: str) -> Resource | None:
        """Return the cluster of a target as a view sees it; None where the view has too many."""

    def is_current(self, view: "StreamView", type_url: str, name: str, version: str) -> bool:
        """Return whether a resource is known to have that version; a cluster is in use then."""

    def site_resource(self, view: "StreamView", type_url: str, name: str) -> Resource | None:
        """Return a resource that one Envoy of a site needs."""

    def peer_routes(self, group: str) -> Resource | None:
        """Return the routes of a site's peer."""

    def prepare_resource(self, view: "StreamView", type_url: str, name: str) -> Steps[None]:
        """Do what takes long of `peer_routes` and `site_resource`, in steps."""

    def site_names(self, view: "StreamView", type_url: str) -> Collection[str]:
        """Return the names of the resources of a type that one Envoy of a site needs."""

    def targets_of_all(self, group: str) -> Collection[str]:
        """Return the targets that all Envoys of a site have."""

    staleness: Staleness
    """How far what it knows can be trusted."""

    def detach(self, view: "StreamView") -> None:
        """Forget a view."""


class StreamView:
    """The view of one stream."""

    def __init__(self, source: ResourceLookup, node: Node) -> None:
        self._source = source
        self.node = node
        self.targets: dict[str, str] = {}
        """Target in use by this stream to version (`SiteState`); an Envoy gives up none."""
        # dicts, as empty ones take a third of the room of sets
        self.negative: dict[str, None] = {}
        """Those that could not be served when they were last compiled."""
        self.withheld: dict[str, None] = {}
        """Those that could not be served, one too many of them, and have not been since."""
        self.warned = False
        self.setup = setup_of(node.metadata)
        self.identity = _identity_secrets(node)
        """The secrets that differ between the Envoys of a site: the files of their machines."""

    @property
    def group(self) -> str:
        """The site."""
        return self.node.cluster

    @property
    def key(self) -> tuple[str, Setup]:
        """What its Envoy's listeners, routes, secrets and filters are kept by."""
        return self.node.cluster, self.setup

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        """See `xds.source.KnowsVersions`."""
        # what is made for it alone, or kept already, is compared when it is looked up
        if (type_url == SECRET and name in self.identity) or (type_url == ROUTE and name == PEER):
            return False
        return self._source.is_current(self, type_url, name, version)

    def resource(self, type_url: str, name: str) -> Resource | None:
        """See `xds.source.NodeView`."""
        if type_url == CLUSTER:
            return self._source.cluster_for(self, name)
        if type_url == SECRET and name in self.identity:
            return self.identity[name]
        if type_url == ROUTE and name == PEER:
            return self._source.peer_routes(self.group)
        return self._source.site_resource(self, type_url, name)

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        """See `xds.source.MakesInSteps`."""
        if type_url == CLUSTER or (type_url == SECRET and name in self.identity):
            return None
        return self._source.prepare_resource(self, type_url, name)

    def is_outdated(self, type_url: str, name: str) -> bool:
        """See `xds.source.MayBeOutdated`."""
        # what the node itself says of its files is not knowledge from the registry
        is_own = type_url == SECRET and name in self.identity
        return self._source.staleness.is_outdated and not is_own

    def wildcard(self, type_url: str) -> Collection[str]:
        """See `xds.source.NodeView`."""
        if type_url == CLUSTER:
            return self._source.targets_of_all(self.group)
        return self._source.site_names(self, type_url)

    def close(self) -> None:
        """See `xds.source.NodeView`."""
        self._source.detach(self)


def _identity_secrets(node: Node) -> Mapping[str, Resource]:
    identity = from_metadata(node.metadata)
    made = {} if identity is None else identity_secrets(identity)
    return {name: resource(SECRET, name, body) for name, body in made.items()}
