"""The clusters of targets: planned and compiled when an Envoy asks for them.

Owns which sites use which targets, and what is kept of parsed names and compiled clusters. Runs on
the event loop; nothing awaits.
"""

import logging
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterator
from time import perf_counter

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.planner.fanout import no_collector
from scopeway.control_plane.planner.plan import Fanout, Plan, Rejection, Skipped
from scopeway.control_plane.planner.planner import PlanSettings, plan_steps, plan_with_skipped
from scopeway.control_plane.scope import ScopeError, Target, is_fanout_name, parse_target
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.site_state import UNKNOWN, Fleet, StreamState
from scopeway.control_plane.serving.skipped_log import SkippedLog
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.serving.stats import ANSWER_BOUNDS, SourceStats
from scopeway.control_plane.serving.target_index import TargetIndex
from scopeway.control_plane.translator.clusters import (
    compile_cluster,
    is_cached_validation,
    preload,
    waits_for_names,
)
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.xds.encoding.messages import resource
from scopeway.xds.resource import Resource
from scopeway.xds.steps import Steps
from scopeway.xds.text import shown
from scopeway.xds.type_urls import CLUSTER, LISTENER

_log = logging.getLogger(__name__)

_CLUSTER_CACHE = 16 << 20
"""Bytes of compiled clusters that are kept for other nodes, with their plans; some 4 kB each."""
_NAME_CACHE = 16 << 20
"""Bytes of parsed target names that are kept; some 25 for each character."""
PLANNED = 16
"""Fan-outs of 4,096 clouds that are kept between the last step of their plan and its use."""
ATTEMPTS = 3
"""Plans of a fan-out that are made in steps while clouds change; the next one is made at once."""
BATCH = 256
"""Targets, each at one site, in one step of a change: some 0.5 ms."""


class ClusterLookup:
    """The clusters that Envoys ask for, by target name."""

    def __init__(
        self,
        fleet: Fleet,
        *,
        settings: PlanSettings,
        limits: SourceLimits,
        staleness: Staleness,
        stats: SourceStats,
        skipped: SkippedLog,
        defer: Callable[[Steps[None]], None],
    ) -> None:
        """See `ScopewaySource`."""
        preload()
        parse_target("image@(a)")  # makes the parser, 30 ms, which no request is to wait for
        self._fleet = fleet
        self._settings = settings
        self._limits = limits
        self._staleness = staleness
        self._stats = stats
        self._skipped = skipped
        self._defer = defer
        self._index = TargetIndex()
        self._parsed: ByteBoundedCache[str, Target | Rejection] = ByteBoundedCache(
            _NAME_CACHE, lambda name, _: 500 + 25 * len(name)
        )
        self._planned: dict[tuple[str, str], tuple[int, tuple[Plan, tuple[Skipped, ...]]]] = {}
        """Fan-outs that were planned in steps, by site and name, with the inventory's revision."""
        self._compiled: ByteBoundedCache[tuple[str, Plan, bool, str], Resource] = ByteBoundedCache(
            _CLUSTER_CACHE, lambda _, cluster: 1000 + 3 * cluster.body_size
        )

    def __len__(self) -> int:
        """Return the number of targets in use."""
        return len(self._index)

    def cluster_for(self, stream: StreamState, name: str) -> Resource | None:
        """Return the cluster of a target for a stream; None if the stream has reached a limit.

        A target that cannot be served is in use even above that limit: Envoy stays subscribed to
        it, and must get the cluster once the target's cloud is registered.
        """
        start = perf_counter()
        try:
            return self._cluster_for(stream, name)
        finally:
            seconds = perf_counter() - start
            self._stats.answers[bisect_left(ANSWER_BOUNDS, seconds)] += 1
            self._stats.answer_seconds += seconds

    def prepare(self, stream: StreamState, name: str) -> Steps[None] | None:
        """Plan a fan-out in steps, for `cluster_for` to find; None for all other targets."""
        if not is_fanout_name(name):
            return None
        target = self._parse(name)
        return None if isinstance(target, Rejection) else self._prepare(stream, name, target)

    def is_current(self, stream: StreamState, name: str, version: str) -> bool:
        """Return whether the cluster of a target is known to have that version.

        If so, the target is in use by the stream from now on.
        """
        state = self._fleet.sites[stream.node.site]
        if version == UNKNOWN or state.version(name) != version:
            return False
        if name not in stream.targets and len(stream.targets) >= self._limits.targets:
            return False
        state.track(stream, name, version)
        stream.negative.pop(name, None)
        stream.withheld.pop(name, None)
        return True

    def release(self, site: str, names: Collection[str]) -> None:
        """Note, soon and in steps, that a site may not use some targets any more."""
        if names:
            self._defer(self._release(site, names))

    def affected(self, clouds: Collection[Cloud], types: Collection[str]) -> Iterator[list[str]]:
        """Yield the targets that changed clouds and types concern; see `TargetIndex.affected`."""
        return self._index.affected(clouds, types)

    def user_count(self, name: str) -> int:
        """Return how many sites use a target."""
        return self._index.users(name)

    def by_user(self, names: Collection[str]) -> dict[str, list[str]]:
        """Return the sites that use some of these targets, each with those that it uses."""
        return self._index.by_user(names)

    def _cluster_for(self, stream: StreamState, name: str) -> Resource | None:
        site = stream.node.site
        new = name not in stream.targets
        if new and len(stream.targets) >= self._limits.targets:
            self._refuse(stream, name, "targets")
            return None
        target = self._parse(name)
        if new and self._is_too_much(site, name):
            self._refuse(stream, name, "clouds and labels in the targets of its cloud's Envoys")
            return None
        setup = stream.node.setup
        plan = self._plan(name, target, site)
        if isinstance(plan, Fanout) and not setup.collector:
            plan = no_collector(site)
        if new:
            self._track_target(stream, name, target)
        if isinstance(plan, Rejection):
            if new and len(stream.negative) >= self._limits.negative:
                stream.withheld[name] = None
                self._refuse(stream, name, "targets that cannot be served")
            if name in stream.withheld:
                return None
            stream.negative[name] = None
        else:
            stream.negative.pop(name, None)
            stream.withheld.pop(name, None)
        cluster = self._compile(name, plan, setup)
        if not isinstance(plan, Rejection):
            stream.targets[name] = cluster.version
        return cluster

    def _is_too_much(self, site: str, name: str) -> bool:
        most = self._limits.atoms_per_cloud
        return self._index.size(site) >= most and not self._fleet.sites[site].uses(name)

    def _track_target(self, stream: StreamState, name: str, target: Target | Rejection) -> None:
        site = stream.node.site
        self._fleet.sites[site].track(stream, name, UNKNOWN)
        if isinstance(target, Target):
            self._index.add(name, target, site)

    def _release(self, site: str, names: Collection[str]) -> Steps[None]:
        for some in batches(names):
            state = self._fleet.sites.get(site)
            for name in some:
                if state is None or not state.uses(name):
                    self._index.discard(name, site)
            yield

    def _parse(self, name: str) -> Target | Rejection:
        return self._parsed.get(name) or self._parsed.put(name, _parse(name))

    def _prepare(self, stream: StreamState, name: str, target: Target) -> Steps[None]:
        site = stream.node.site
        for _ in range(ATTEMPTS):
            inventory = self._fleet.inventory
            caller = inventory.get(site)
            if caller is None:
                return
            planned = yield from plan_steps(target, caller, inventory, self._settings)
            if self._fleet.inventory is inventory:
                self._planned[site, name] = inventory.revision, planned
                while len(self._planned) > PLANNED:
                    del self._planned[next(iter(self._planned))]
                return

    def _plan(self, name: str, target: Target | Rejection, site: str) -> Plan:
        if isinstance(target, Rejection):
            return target
        caller = self._fleet.inventory.get(site)
        if caller is None:
            return self._staleness.unknown_site(site)
        revision, planned = self._planned.pop((site, name), (None, None))
        if planned is None or revision != self._fleet.inventory.revision:
            planned = plan_with_skipped(target, caller, self._fleet.inventory, self._settings)
        plan, skipped = planned
        self._skipped.note(site, name, skipped)
        return self._staleness.annotate(plan)

    def _compile(self, name: str, plan: Plan, setup: Setup) -> Resource:
        # all that a cluster depends on: most sites share it, whatever else differs between them
        earlier = setup.earlier
        collector = ""
        if isinstance(plan, Fanout) or (setup.caches_validations and is_cached_validation(plan)):
            collector = setup.collector
        key = name, plan, earlier, collector
        known = self._compiled.get(key)
        if known is not None:
            return known
        self._stats.compiled += 1
        # an Envoy opens no listener before all that it is sent at first has warmed up
        after = LISTENER if waits_for_names(name, plan, earlier=earlier) else None
        body = compile_cluster(name, plan, earlier=earlier, collector=collector)
        return self._compiled.put(key, resource(CLUSTER, name, body, after=after))

    def _refuse(self, stream: StreamState, name: str, what: str) -> None:
        self._stats.refused += 1
        if not stream.warned:
            stream.warned = True
            _log.warning(
                "node has too many %s, refusing further ones",
                what,
                extra={
                    "node": shown(stream.node.node_id),
                    "type_url": CLUSTER,
                    "target": shown(name),
                },
            )


def batches(names: Collection[str]) -> Iterator[list[str]]:
    """Yield the names as they are now, `BATCH` at a time."""
    listed = list(names)
    for start in range(0, len(listed), BATCH):
        yield listed[start : start + BATCH]


def _parse(name: str) -> Target | Rejection:
    try:
        return parse_target(name)
    except ScopeError as error:
        return Rejection(status=error.status, reason=str(error))
