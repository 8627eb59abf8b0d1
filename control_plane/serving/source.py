"""The resources of the fleet: a source for `xds` over inventory, planner and translator.

Owns which targets are in use, by which sites, and what a changed cloud means for them. Must not
know nonces or streams. It is made with the registry's first full listing, so a server cannot be
started, and nothing can be served, before that. Everything runs on one event loop; nothing awaits.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from time import perf_counter
from typing import Protocol

from scopeway.control_plane.clouds.inventory import Inventory, free_inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.planner.plan import Plan, Rejection
from scopeway.control_plane.planner.planner import PlanSettings, plan_with_skipped
from scopeway.control_plane.planner.prefetch import own_targets, prefetch_targets
from scopeway.control_plane.scope import ScopeError, Target, parse_target
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.node_auth import check_bootstrap, check_claims
from scopeway.control_plane.serving.policy_index import PolicyIndex, Timer
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.site_cache import SITE_TYPES, SiteCache, SiteResources
from scopeway.control_plane.serving.site_state import (
    UNKNOWN,
    IdleSites,
    SiteState,
    Versions,
    changed_names,
    names_of,
)
from scopeway.control_plane.serving.skipped_log import SkippedLog
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.serving.stats import ANSWER_BOUNDS, SourceStats
from scopeway.control_plane.serving.target_index import TargetIndex, is_another_caller
from scopeway.control_plane.serving.view import StreamView
from scopeway.control_plane.translator.clusters import compile_cluster, preload, waits_for_names
from scopeway.control_plane.translator.names import PEER
from scopeway.control_plane.translator.node_setup import Setup, setup_of
from scopeway.control_plane.translator.routes import PeerRoutes, peer_routes_steps
from scopeway.xds.encoding.messages import resource
from scopeway.xds.errors import ProtocolError
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node, NodeView
from scopeway.xds.steps import STRIDE, Steps, finish
from scopeway.xds.text import shown
from scopeway.xds.type_urls import CLUSTER, LISTENER, ROUTE

_log = logging.getLogger(__name__)

_CLUSTER_CACHE = 16 << 20
"""Bytes of compiled clusters that are kept for other nodes, with their plans; some 4 kB each."""
_NAME_CACHE = 16 << 20
"""Bytes of parsed target names that are kept; some 25 for each character."""
ATTEMPTS = 5
"""To make the listeners of a site whose cloud changes meanwhile."""
_STEP = 256
"""Targets, each at one site, of one step of a change: some 0.5 ms."""


class Changes(Protocol):
    """Who is told what changed (`xds.notifier.ChangeNotifier`)."""

    def resources_changed(self, type_url: str, names: Collection[str], group: str) -> None:
        """Tell the streams of a group that these resources may be others now."""

    def wildcard_changed(self, type_url: str, group: str) -> None:
        """Tell the streams of a group that their wildcard means other names now."""

    def caught_up(self) -> Steps[None]:
        """Tell all streams, in steps, that what is known is outdated no longer."""


class ScopewaySource:
    """What each Envoy of the fleet may ask for."""

    def __init__(
        self,
        *,
        inventory: Inventory,
        changes: Changes,
        site: Callable[[Cloud, Setup], SiteResources],
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
            changes: Is told what an `update` changed.
            site: Makes the listeners, routes and filters of a cloud's site, for an Envoy with that
                setup.
            settings: What the operator decides about plans.
            limits: What one stream may use.
            defer: Takes work that may be done in slices, soon and in order (`BackgroundQueue.add`).
            prefetch: The clouds, of this inventory, whose targets every Envoy gets before it asks.
            timer: Calls back when a policy has rested that takes long to compile (the event loop);
                None: all are compiled when they are asked for.
            staleness: How far the inventory can be trusted; None: the registry never is away.
        """
        preload()
        parse_target("image@(a)")  # makes the parser, 30 ms, which no request is to wait for
        self._inventory = inventory
        self._changes = changes
        self._site = site
        self._settings = settings
        self._limits = limits or SourceLimits()
        self._prefetch = prefetch
        self._defer = defer
        self._sites: dict[str, SiteState] = {}
        self.staleness = staleness or Staleness()
        self._idle_sites = IdleSites(
            sites=self._limits.sites_away, targets=self._limits.targets_away
        )
        self._targets = TargetIndex()
        self._policies = PolicyIndex(self._peer_routes, self._tell_peers, timer)
        self._skipped = SkippedLog()
        self._stats = SourceStats(skipped=self._skipped.counts)
        self._parsed: ByteBoundedCache[str, Target | Rejection] = ByteBoundedCache(
            _NAME_CACHE, lambda name, _: 500 + 25 * len(name)
        )
        self._compiled: ByteBoundedCache[tuple[str, Plan, bool], Resource] = ByteBoundedCache(
            _CLUSTER_CACHE, lambda _, cluster: 1000 + 3 * cluster.body_size
        )
        self._site_cache = SiteCache(self._site_resources)

    def type_urls(self) -> Collection[str]:
        """Return the types that are served."""
        return (CLUSTER, *SITE_TYPES)

    def prepare(self, node: Node) -> Steps[None]:
        """Make, in steps, what the Envoy of a site needs whose versions `attach` is to know."""
        check_claims(node, self._settings.trust_domain)
        check_bootstrap(node, with_identity=self._settings.trust_domain is not None)
        self._check_streams(node)
        site, setup = self._sites.get(node.cluster), setup_of(node.metadata)
        if site is None or setup not in site.versions:
            yield from self._make_site((node.cluster, setup))

    def attach(self, node: Node) -> NodeView:
        """Return the view of a stream that has just named its node.

        A node whose cloud isn't registered is served nothing but rejections until it is.

        Raises:
            ProtocolError: the node names no cloud, or another one than its certificate; or it isn't
                configured for this control plane.
        """
        check_claims(node, self._settings.trust_domain)
        check_bootstrap(node, with_identity=self._settings.trust_domain is not None)
        self._check_streams(node)
        view = StreamView(self, node)
        site = self._sites.get(view.group)
        versions = site.versions.get(view.setup) if site else None
        if versions is None:  # this may fail: nothing is noted before
            versions = self._site_cache.add(view.key)
        site = site or self._meet(view.group)
        if self._inventory.get(view.group) is None:
            self.staleness.note_unknown(node)
        self._idle_sites.remove(view.group)
        if view.setup.earlier and not site.earlier:
            site.earlier = True
            self._set_policy(view.group, self._inventory.get(view.group))
            self._tell_peers((view.group,))
        site.versions[view.setup] = versions
        site.streams.append(view)
        self._stats.streams += 1
        self._stats.attached += 1
        return view

    def update(self, inventory: Inventory, changed: Collection[str]) -> None:
        """Take a new inventory, and tell the notifier which resources may be others now.

        See `steps`, all of them at once.
        """
        finish(self.steps(inventory, changed))

    def steps(self, inventory: Inventory, changed: Collection[str]) -> Steps[None]:
        """Take a new inventory, then tell the notifier in steps which resources may have changed.

        Streams may ask meanwhile: they get what is true of the new inventory, and are told once
        more. Costs what the changed clouds concern: the targets in use that depend on them, and
        their own sites. Nothing is compiled here.

        Args:
            inventory: All clouds.
            changed: The names of those that aren't what they were in the inventory before.
        """
        held = [self._inventory]
        self._inventory = inventory
        changes: list[tuple[Cloud | None, Cloud | None]] = []
        for count, name in enumerate(changed, 1):
            changes.append((held[0].get(name), inventory.get(name)))
            if not count % STRIDE:
                yield
        fetched: Collection[str] = ()
        if self._prefetch is not None:
            fetched = yield from self._prefetch.update(inventory, changed)
        told = yield from self._tell_users(changes)
        peers: set[str] = set()
        for name, (old, new) in zip(changed, changes, strict=True):
            if name in self._sites:
                yield from self._update_site(name, old, new, told)
            if name in self._sites and self._set_policy(name, new):
                peers.add(name)
            yield
        for sites in self._policies.change(changes):
            peers.update(sites)
            yield
        for name in peers:
            self._tell_peers((name,))
            yield
        for group in list(self._sites) if fetched else ():
            if group in self._sites and self._fetch(group, fetched):
                self._changes.wildcard_changed(CLUSTER, group)
            yield
        changes.clear()
        yield from free_inventory(held, changed)

    def catch_up(self) -> Steps[None]:
        """Bring all Envoys up to date, in steps, once the registry is not away any more.

        Costs O(streams), what they have kept, and targets whose rejection says that it is away.
        """
        for group, site in list(self._sites.items()):
            for some in _batches(site.rejected()):
                if self._sites.get(group) is site:
                    self._tell_site(group, some)
                yield
        yield from self._changes.caught_up()

    def _tell_users(self, changes: Iterable[tuple[Cloud | None, Cloud | None]]) -> Steps[set[str]]:
        """Tell those who use targets that changed clouds concern; return these targets."""
        clouds = [each for change in changes for each in change if each is not None]
        told: set[str] = set()
        some: list[str] = []
        users = 0
        for names in self._targets.affected(clouds):
            told.update(names)
            for name in names:
                some.append(name)
                users += self._targets.users(name)
                if users >= _STEP:
                    yield from self._tell(some)
                    some, users = [], 0
            yield
        yield from self._tell(some)
        return told

    def _tell(self, targets: Collection[str]) -> Steps[None]:
        for group, names in self._targets.by_user(targets).items():
            if group in self._sites:
                self._tell_site(group, names)
            yield

    def policy_problems(self) -> Mapping[str, str]:
        """Return the connected sites whose policy lets nobody in as it is too large, with why."""
        return self._policies.problems

    def _tell_of_all(self, group: str, told: Collection[str]) -> Steps[None]:
        """Tell a site that all that it uses may be others now; `told` it has been told already."""
        for table in list(self._sites[group].tables()):
            for some in _batches(table):
                if group in self._sites:
                    self._tell_site(group, [name for name in some if name not in told])
                yield

    def _tell_site(self, group: str, names: Collection[str]) -> None:
        if names:
            self._sites[group].outdate(names)
            self._changes.resources_changed(CLUSTER, names, group=group)

    def activity(self) -> object:
        """Return what is another value after a stream has come or gone, or a target has."""
        return self._stats.attached, self._stats.streams, len(self._targets)

    def stats(self) -> SourceStats:
        """Return the counters; the value keeps counting."""
        self._stats.targets = len(self._targets)
        if self._prefetch is not None:
            self._stats.prefetched_clouds = len(self._prefetch.clouds)
            self._stats.prefetch_left_out = self._prefetch.left_out
        return self._stats

    # for the views

    def cluster_for(self, view: StreamView, name: str) -> Resource | None:
        """Return the cluster of a target as a view sees it; None where the view has too many.

        What cannot be served and is one too many is in use all the same: Envoy stays subscribed to
        it, and is to hear of it when its cloud is registered.
        """
        start = perf_counter()
        try:
            return self._make_cluster(view, name)
        finally:
            seconds = perf_counter() - start
            self._stats.answers[bisect_left(ANSWER_BOUNDS, seconds)] += 1
            self._stats.answer_seconds += seconds

    def _make_cluster(self, view: StreamView, name: str) -> Resource | None:
        new = name not in view.targets
        if new and len(view.targets) >= self._limits.targets:
            self._refuse(view, name, "targets")
            return None
        target = self._parse(name)
        if new and self._has_too_much(view.group, name):
            self._refuse(view, name, "clouds and labels in the targets of its cloud's Envoys")
            return None
        plan = self._plan(name, target, view.group)
        if new:
            self._track_target(view, name, target)
        if isinstance(plan, Rejection):
            if new and len(view.negative) >= self._limits.negative:
                view.withheld[name] = None
                self._refuse(view, name, "targets that cannot be served")
            if name in view.withheld:
                return None
            view.negative[name] = None
        else:
            view.negative.pop(name, None)
            view.withheld.pop(name, None)
        cluster = self._compile(name, plan, view.setup.earlier)
        if not isinstance(plan, Rejection):
            view.targets[name] = cluster.version
        return cluster

    def _has_too_much(self, group: str, name: str) -> bool:
        most = self._limits.atoms_per_cloud
        return self._targets.size(group) >= most and not self._sites[group].uses(name)

    def is_current(self, view: StreamView, type_url: str, name: str, version: str) -> bool:
        """Return whether a resource is known to have that version; a cluster is in use then."""
        site = self._sites[view.group]
        if type_url != CLUSTER:
            return site.versions[view.setup].get((type_url, name)) == version
        if version == UNKNOWN or site.version(name) != version:
            return False
        if name not in view.targets and len(view.targets) >= self._limits.targets:
            return False
        site.track(view, name, version)
        view.negative.pop(name, None)
        view.withheld.pop(name, None)
        return True

    def site_resource(self, view: StreamView, type_url: str, name: str) -> Resource | None:
        """Return a resource that one Envoy of a site needs."""
        return self._site_cache.resource(view.key, type_url, name)

    def peer_routes(self, group: str) -> Resource | None:
        """Return the routes of a site's peer."""
        return self._policies.routes(group)

    def prepare_resource(self, view: StreamView, type_url: str, name: str) -> Steps[None]:
        """Do what takes long of `peer_routes` and `site_resource`."""
        if type_url == ROUTE and name == PEER:
            yield from self._policies.prepare(view.group)
        else:
            yield from self._make_site(view.key)

    def site_names(self, view: StreamView, type_url: str) -> Collection[str]:
        """Return the names of the resources of a type that one Envoy of a site needs."""
        return names_of(type_url, self._sites[view.group].versions[view.setup])

    def targets_of_all(self, group: str) -> Collection[str]:
        """Return the targets that all Envoys of a site have: own and prefetched. O(answer)."""
        own = own_targets(self._inventory.get(group))
        return own.union(*self._sites[group].prefetched.values())

    def detach(self, view: StreamView) -> None:
        """Forget a view; its site is remembered for a while when it was the last one."""
        site = self._sites[view.group]
        self._release(view.group, site.remove(view))
        self._stats.streams -= 1
        if not site.has_setup(view.setup):
            self._site_cache.forget(view.key)
        if not site.streams:
            for group in self._idle_sites.add(view.group, len(site.left)):
                forgotten = self._sites.pop(group)
                for setup in forgotten.versions:  # made at a change while it was away
                    self._site_cache.forget((group, setup))
                self._release(group, forgotten.left)
                self._policies.set(group, None)

    def _meet(self, group: str) -> SiteState:
        site = self._sites[group] = SiteState()
        if self._prefetch is not None:
            self._fetch(group, self._prefetch.clouds)
        self._set_policy(group, self._inventory.get(group))
        return site

    def _release(self, group: str, names: Collection[str]) -> None:
        if names:
            self._defer(self._release_unused(group, names))

    def _release_unused(self, group: str, names: Collection[str]) -> Steps[None]:
        """Note that a site uses these targets no more, but for those that a stream of it uses."""
        for some in _batches(names):
            site = self._sites.get(group)
            for name in some:
                if site is None or not site.uses(name):
                    self._targets.discard(name, group)
            yield

    def _check_streams(self, node: Node) -> None:
        site = self._sites.get(node.cluster)
        if site is None:
            return
        for count, limit, whose in (
            (site.of_node(node.id), self._limits.streams_per_node, f"node '{shown(node.id)}'"),
            (len(site.streams), self._limits.streams_per_cloud, f"cloud {node.cluster}"),
        ):
            if count >= limit:
                raise ProtocolError(
                    f"{whose} has {count} streams already", status="RESOURCE_EXHAUSTED"
                )

    def _track_target(self, view: StreamView, name: str, target: Target | Rejection) -> None:
        self._sites[view.group].track(view, name, UNKNOWN)
        if isinstance(target, Target):
            self._targets.add(name, target, view.group)

    def _plan(self, name: str, target: Target | Rejection, group: str) -> Plan:
        if isinstance(target, Rejection):
            return target
        caller = self._inventory.get(group)
        if caller is None:
            return self.staleness.unknown_site(group)
        plan, skipped = plan_with_skipped(target, caller, self._inventory, self._settings)
        self._skipped.note(group, name, skipped)
        return self.staleness.annotate(plan)

    def _set_policy(self, group: str, cloud: Cloud | None) -> bool:
        return self._policies.set(group, cloud, earlier=self._sites[group].earlier)

    def _peer_routes(self, policy: Policy, earlier: bool) -> Steps[PeerRoutes]:
        trust_domain = self._settings.trust_domain
        return peer_routes_steps(
            policy, self._inventory, trust_domain=trust_domain, earlier=earlier
        )

    def _tell_peers(self, sites: Iterable[str]) -> None:
        for name in sites:
            self._changes.resources_changed(ROUTE, (PEER,), group=name)

    def _parse(self, name: str) -> Target | Rejection:
        return self._parsed.get(name) or self._parsed.put(name, _parse(name))

    def _compile(self, name: str, plan: Plan, earlier: bool) -> Resource:
        key = name, plan, earlier
        known = self._compiled.get(key)
        if known is not None:
            return known
        self._stats.compiled += 1
        # an Envoy opens no listener before all that it is sent at first has warmed up
        after = LISTENER if waits_for_names(name, plan, earlier=earlier) else None
        body = compile_cluster(name, plan, earlier=earlier)
        return self._compiled.put(key, resource(CLUSTER, name, body, after=after))

    def _refuse(self, view: StreamView, name: str, what: str) -> None:
        self._stats.refused += 1
        if not view.warned:
            view.warned = True
            _log.warning(
                "node has too many %s; further ones are refused",
                what,
                extra={"node": shown(view.node.id), "type_url": CLUSTER, "target": shown(name)},
            )

    def _update_site(
        self, name: str, old: Cloud | None, new: Cloud | None, told: Collection[str]
    ) -> Steps[None]:
        """Tell the streams of a cloud that has changed; streams may come and leave meanwhile."""
        versions = yield from self._make_anew(name)
        renamed = own_targets(old) != own_targets(new)
        if is_another_caller(old, new):
            yield from self._tell_of_all(name, told)
            if self._prefetch is not None and name in self._sites:
                renamed |= self._fetch(name, self._prefetch.clouds)
        if renamed:
            self._changes.wildcard_changed(CLUSTER, name)
        for was, now in versions:
            for type_url in SITE_TYPES:
                changed, named = changed_names(type_url, was, now)
                if changed or named:
                    self._changes.resources_changed(type_url, [*changed, *named], group=name)
                if named:
                    self._changes.wildcard_changed(type_url, name)

    def _make_anew(self, name: str) -> Steps[list[tuple[Versions, Versions]]]:
        """Make a site's listeners, routes, secrets and filters; return the versions, old and new.

        One of the pairs for each setup, which come and go with the streams of the site.
        """
        before, pairs = dict(self._sites[name].versions), []
        for setup in before:
            self._site_cache.forget((name, setup))
        try:
            for setup, was in before.items():
                yield from self._make_site((name, setup))
                now = self._site_cache.versions((name, setup))
                site = self._sites.get(name)
                if site is not None and setup in site.versions:
                    site.versions[setup] = now
                    pairs.append((was, now))
        except Exception:  # its Envoys keep what they have, and nobody else is to miss anything
            _log.exception("the listeners of a site cannot be made", extra={"cloud": name})
        return pairs

    def _make_site(self, key: tuple[str, Setup]) -> Steps[None]:
        """Make what a site's Envoys need, in steps, where it isn't kept.

        Raises:
            ProtocolError: its cloud has changed each time before all was made.
        """
        for _ in range(ATTEMPTS):
            if key in self._site_cache:
                return
            cloud = self._inventory.get(key[0])
            made = yield from self._site_cache.make(key)
            if self._inventory.get(key[0]) is cloud:
                self._site_cache.put(key, made)
                return
        raise ProtocolError(
            f"cloud {key[0]} changes so often that its listeners cannot be made",
            status="UNAVAILABLE",
        )

    def _fetch(self, group: str, clouds: Collection[str]) -> bool:
        """Find out what a site is to get of some clouds unasked; return whether it is new."""
        assert self._prefetch is not None
        site, caller = self._sites[group], self._inventory.get(group)
        changed = False
        for name in clouds:
            targets: frozenset[str] = frozenset()
            if caller is not None and name in self._prefetch.clouds:
                targets = prefetch_targets(name, caller, self._inventory, self._settings)
            if targets != site.prefetched.get(name, frozenset()):
                changed = True
                site.prefetched.pop(name, None)
                site.prefetched |= {name: targets} if targets else {}
        return changed

    def _site_resources(self, group: str, setup: Setup) -> SiteResources:
        cloud = self._inventory.get(group)
        return () if cloud is None else self._site(cloud, setup)


def _batches(names: Collection[str]) -> Iterator[list[str]]:
    """Yield the names as they are now, some at a time."""
    listed = list(names)
    for start in range(0, len(listed), _STEP):
        yield listed[start : start + _STEP]


def _parse(name: str) -> Target | Rejection:
    try:
        return parse_target(name)
    except ScopeError as error:
        return Rejection(status=error.status, reason=str(error))
