"""The xDS source of the fleet: which resources each Envoy may ask for.

Owns the life of sites and streams, and ties the parts: `cluster_lookup` and `site_lookup` make
resources, `policy_index` the routes of peers, `change_propagation` says whom a change concerns.
Knows neither nonces nor connections. It is made with the registry's first full listing, so nothing
can be served before that. Everything runs on one event loop; nothing awaits.
"""

from collections.abc import Callable, Collection, Mapping
from functools import partial

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.planner.prefetch import own_targets
from scopeway.control_plane.serving.change_propagation import (
    ChangePropagation,
    Notifier,
    notify_peers,
)
from scopeway.control_plane.serving.cluster_lookup import ClusterLookup
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.node_auth import admit
from scopeway.control_plane.serving.node_context import NodeContext
from scopeway.control_plane.serving.policy_index import PolicyIndex, Timer
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.site_cache import SITE_TYPES
from scopeway.control_plane.serving.site_lookup import MakeSite, SiteLookup
from scopeway.control_plane.serving.site_state import Fleet, IdleSites, SiteState, StreamState
from scopeway.control_plane.serving.skipped_log import SkippedLog
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.serving.stats import SourceStats
from scopeway.control_plane.serving.view import Lookups, StreamView
from scopeway.control_plane.translator.routes import PeerRoutes, peer_routes_steps
from scopeway.xds.source import Node, NodeView
from scopeway.xds.steps import Steps, finish
from scopeway.xds.type_urls import CLUSTER


class ScopewaySource:
    """What each Envoy of the fleet may ask for."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        notifier: Notifier,
        make_site: MakeSite,
        settings: PlanSettings,
        limits: SourceLimits | None = None,
        prefetch: PrefetchSet | None = None,
        timer: Timer | None = None,
        defer: Callable[[Steps[None]], None] = finish,
        staleness: Staleness | None = None,
    ) -> None:
        """Make the source of a registry that has been listed.

        Args:
            inventory: All clouds.
            notifier: Tells the streams what an `update` changed.
            make_site: Makes the listeners, routes and filters of a cloud's site.
            settings: What the operator decides about plans.
            limits: What one stream, and one site, may use.
            prefetch: The clouds, of this inventory, whose targets every Envoy gets before it asks.
            timer: The event loop, which delays the compilation of large policies, and of fan-outs
                that change often. None: nothing is delayed.
            defer: Runs work in slices, soon and in order (`BackgroundQueue.add`).
            staleness: How far the inventory can be trusted. None: it is always current.
        """
        self._limits = limits or SourceLimits()
        self._settings = settings
        self._prefetch = prefetch
        self._notifier = notifier
        self._staleness = staleness or Staleness()
        self._fleet = Fleet(inventory=inventory)
        self._idle_sites = IdleSites(
            sites=self._limits.idle_sites, targets=self._limits.idle_targets
        )
        skipped = SkippedLog()
        self._stats = SourceStats(skipped=skipped.counts)
        self._clusters = ClusterLookup(
            self._fleet,
            settings=settings,
            limits=self._limits,
            staleness=self._staleness,
            stats=self._stats,
            skipped=skipped,
            defer=defer,
        )
        self._connected: frozenset[str] = frozenset()
        self._connected_at: object = None
        self._site_resources = SiteLookup(self._fleet, make_site)
        self._policies = PolicyIndex(self._peer_routes, partial(notify_peers, notifier), timer)
        self._propagation = ChangePropagation(
            self._fleet,
            notifier=notifier,
            settings=settings,
            prefetch=prefetch,
            clusters=self._clusters,
            site_resources=self._site_resources,
            policies=self._policies,
            timer=timer,
            defer=defer,
        )
        self._lookups = Lookups(
            clusters=self._clusters,
            site_resources=self._site_resources,
            policies=self._policies,
            staleness=self._staleness,
            wildcard_targets=self._wildcard_targets,
            detach=self._detach,
        )

    def type_urls(self) -> Collection[str]:
        """Return the types that are served."""
        return (CLUSTER, *SITE_TYPES)

    def prepare(self, node: Node) -> Steps[None]:
        """Make, in steps, what an Envoy's site needs, so that `attach` finds it."""
        context = self._admit(node)
        state = self._fleet.sites.get(context.site)
        if state is None or context.setup not in state.versions:
            yield from self._site_resources.prepare(context.key)

    def attach(self, node: Node) -> NodeView:
        """Return the view of a stream that has just named its node.

        A node whose cloud isn't registered is served nothing but rejections until it is.

        Raises:
            ProtocolError: the node is not admitted (`node_auth.admit`).
        """
        context = self._admit(node)
        versions = self._site_resources.attach(context.key)  # may fail: nothing is noted before
        site = context.site
        state = self._fleet.sites.get(site) or self._add_site(site)
        if self._fleet.inventory.get(site) is None:
            self._staleness.note_unknown(node)
        self._idle_sites.remove(site)
        if context.setup.earlier and not state.earlier:
            state.earlier = True
            self._propagation.set_policy(site)
            notify_peers(self._notifier, (site,))
        state.versions[context.setup] = versions
        stream = StreamState(context)
        state.streams.append(stream)
        self._stats.streams += 1
        self._stats.attached += 1
        return StreamView(self._lookups, stream)

    def update(self, inventory: Inventory, changed: Collection[str]) -> None:
        """Do what `steps` does at once."""
        finish(self.steps(inventory, changed))

    def steps(self, inventory: Inventory, changed: Collection[str]) -> Steps[None]:
        """Take a new inventory, then notify in steps the streams whose resources may have changed.

        Streams may ask meanwhile: they get what is true of the new inventory, and are notified once
        more. Costs what the changed clouds concern: the targets in use that depend on them, and
        their own sites; where words for services changed, all sites. No cluster is compiled here.

        Args:
            inventory: All clouds, and the declared service types.
            changed: The names of those that differ from the inventory before.
        """
        yield from self._propagation.steps(inventory, changed)

    def catch_up(self) -> Steps[None]:
        """Bring all Envoys up to date, in steps, once the registry can be read again.

        Costs O(streams), what they have kept, and targets whose rejection says that the registry
        cannot be read.
        """
        yield from self._propagation.catch_up()

    def policy_problems(self) -> Mapping[str, str]:
        """Return the connected sites whose policy lets nobody in as it is too large, with why."""
        return self._policies.problems

    def connected_sites(self) -> frozenset[str]:
        """Return the sites with an open stream; the same value until one has come or gone."""
        now = self._stats.attached, self._stats.streams
        if now != self._connected_at:
            sites = self._fleet.sites.items()
            self._connected = frozenset(site for site, state in sites if state.streams)
            self._connected_at = now
        return self._connected

    def activity(self) -> object:
        """Return a value that differs after a stream, or a target, has come or gone."""
        return self._stats.attached, self._stats.streams, len(self._clusters)

    def stats(self) -> SourceStats:
        """Return the counters; the value keeps counting."""
        self._stats.targets = len(self._clusters)
        if self._prefetch is not None:
            self._stats.prefetched_clouds = len(self._prefetch.clouds)
            self._stats.prefetch_left_out = self._prefetch.left_out
        return self._stats

    def _admit(self, node: Node) -> NodeContext:
        return admit(
            node,
            trust_domain=self._settings.trust_domain,
            state=self._fleet.sites.get(node.cluster),
            limits=self._limits,
        )

    def _add_site(self, site: str) -> SiteState:
        state = self._fleet.sites[site] = SiteState()
        self._propagation.prefetch_all(site)
        self._propagation.set_policy(site)
        return state

    def _detach(self, stream: StreamState) -> None:
        """Forget a stream; its site is remembered for a while if it was the last one."""
        site, key = stream.node.site, stream.node.key
        state = self._fleet.sites[site]
        self._clusters.release(site, state.remove(stream))
        self._stats.streams -= 1
        if not state.has_setup(stream.node.setup):
            self._site_resources.forget(key)
        if not state.streams:
            for idle in self._idle_sites.add(site, len(state.left)):
                self._forget_site(idle)

    def _forget_site(self, site: str) -> None:
        state = self._fleet.sites.pop(site)
        for setup in state.versions:  # made at a change while it was idle
            self._site_resources.forget((site, setup))
        self._clusters.release(site, state.left)
        self._policies.set(site, None)

    def _wildcard_targets(self, site: str) -> Collection[str]:
        """Return the targets that all Envoys of a site get: own and prefetched. O(answer)."""
        own = own_targets(self._fleet.inventory.get(site))
        return own.union(*self._fleet.sites[site].prefetched.values())

    def _peer_routes(self, policy: Policy, earlier: bool) -> Steps[PeerRoutes]:
        return peer_routes_steps(
            policy,
            self._fleet.inventory,
            trust_domain=self._settings.trust_domain,
            earlier=earlier,
        )
