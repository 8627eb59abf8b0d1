"""What one stream may ask for."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from scopeway.control_plane.serving.cluster_lookup import ClusterLookup
from scopeway.control_plane.serving.policy_index import PolicyIndex
from scopeway.control_plane.serving.site_lookup import SiteLookup
from scopeway.control_plane.serving.site_state import StreamState
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.translator.names import PEER
from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.control_plane.translator.secrets import identity_secrets
from scopeway.xds.encoding.messages import resource
from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps
from scopeway.xds.type_urls import CLUSTER, ROUTE, SECRET


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """What the views of all streams ask."""

    clusters: ClusterLookup
    site_resources: SiteLookup
    policies: PolicyIndex
    staleness: Staleness
    wildcard_targets: Callable[[str], Collection[str]]
    """Returns the targets that all Envoys of a site get."""
    detach: Callable[[StreamState], None]
    """Forgets a stream that has ended."""


class StreamView:
    """The view of one stream."""

    def __init__(self, lookups: Lookups, stream: StreamState) -> None:
        self._lookups = lookups
        self._stream = stream
        self._own_secrets = _own_secrets(stream.node.identity)
        """The secrets that differ between the Envoys of a site: the files of their machines."""

    @property
    def group(self) -> str:
        """The site."""
        return self._stream.node.site

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        """See `xds.source.KnowsVersions`."""
        if type_url == CLUSTER:
            return self._lookups.clusters.is_current(self._stream, name, version)
        # what is made for it alone, or kept already, is compared when it is looked up
        if self._is_own(type_url, name) or _is_of_peer(type_url, name):
            return False
        key = self._stream.node.key
        return self._lookups.site_resources.is_current(key, type_url, name, version)

    def resource(self, type_url: str, name: str) -> Resource | None:
        """See `xds.source.NodeView`."""
        if type_url == CLUSTER:
            return self._lookups.clusters.cluster_for(self._stream, name)
        if self._is_own(type_url, name):
            return self._own_secrets[name]
        if _is_of_peer(type_url, name):
            return self._lookups.policies.routes(self.group)
        return self._lookups.site_resources.resource(self._stream.node.key, type_url, name)

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        """See `xds.source.MakesInSteps`."""
        if type_url == CLUSTER:
            return self._lookups.clusters.prepare(self._stream, name)
        if self._is_own(type_url, name):
            return None
        if _is_of_peer(type_url, name):
            return self._lookups.policies.prepare(self.group)
        return self._lookups.site_resources.prepare(self._stream.node.key)

    def is_outdated(self, type_url: str, name: str) -> bool:
        """See `xds.source.MayBeOutdated`."""
        # what the node itself says of its files does not come from the registry
        return self._lookups.staleness.is_outdated and not self._is_own(type_url, name)

    def wildcard(self, type_url: str) -> Collection[str]:
        """See `xds.source.NodeView`."""
        if type_url == CLUSTER:
            return self._lookups.wildcard_targets(self.group)
        return self._lookups.site_resources.names(self._stream.node.key, type_url)

    def close(self) -> None:
        """See `xds.source.NodeView`."""
        self._lookups.detach(self._stream)

    def _is_own(self, type_url: str, name: str) -> bool:
        return type_url == SECRET and name in self._own_secrets


def _is_of_peer(type_url: str, name: str) -> bool:
    return type_url == ROUTE and name == PEER


def _own_secrets(identity: SiteIdentity | None) -> Mapping[str, Resource]:
    made = {} if identity is None else identity_secrets(identity)
    return {name: resource(SECRET, name, body) for name, body in made.items()}
