"""The state of a running control plane: what the registry holds becomes what the streams are sent.

Takes over the registry's batches, in order, and answers what an operator asks. The rules are in the
parts; this module only ties them.
"""

import asyncio
import logging
import time
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Mapping,
)
from contextlib import asynccontextmanager
from typing import Any

from scopeway.control_plane.admin import status
from scopeway.control_plane.admin.health import Health
from scopeway.control_plane.admin.metrics import Metrics
from scopeway.control_plane.catalog.catalog import Catalog, Change
from scopeway.control_plane.clouds.declared_types import DeclaredTypes
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.registry import Batch, Registry
from scopeway.control_plane.runtime.event_loop_lag import LoopLag
from scopeway.control_plane.runtime.last_good import LastGoodRegistry
from scopeway.control_plane.runtime.settings import Settings
from scopeway.control_plane.runtime.time_slices import BackgroundQueue, in_slices
from scopeway.control_plane.serving.policy_index import Timer
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.site_cache import SiteResources
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.translator import site_resources
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.xds.grpc_server.server import Server
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.steps import Steps, finish

_log = logging.getLogger(__name__)

STATUS_SLICE = 16
"""Streams that /status looks at between two turns of the event loop, about 1 ms."""
SLICE_SECONDS = 0.002
"""Seconds after which a turn ends earlier, if the streams use many names."""
LOGGED_PROBLEMS = 20
"""Refused entries, and undeclared service types, of one batch that get a log line each."""
STATUS_UNDECLARED = 100
"""Undeclared service types that /status names."""


class ControlPlane:
    """The state that the parts share: the catalog, and the source once there is one."""

    def __init__(self, settings: Settings, loop_lag: LoopLag | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
        self.health = Health()
        self.notifier = ChangeNotifier(by_name=False)
        self.catalog = Catalog()
        self.background = BackgroundQueue()
        self.loop_lag = loop_lag or LoopLag()
        self.source: ScopewaySource | None = None
        self.server: Server | None = None
        self.registry: Registry | None = None
        self.last_good: LastGoodRegistry | None = None
        """The same registry, if its last good clouds are saved."""
        self.stale: str | None = None
        self.staleness = Staleness()
        self.change: Change | None = None
        self.on_change: Callable[[Change], None] = lambda change: None
        """Is called with each change, before anything else may change."""
        self._changing = asyncio.Lock()
        self.timer: Timer | None = None
        """The event loop, where there is one."""
        self.leaving = asyncio.Event()
        """Set when the streams must be drained."""
        self.metrics.lag.set_function(self.lag)
        self.metrics.loop_lag.set_function(self.loop_lag.take)

    def apply(self, batch: Batch) -> None:
        """Take over a batch of the registry, and notify the streams that it concerns."""
        finish(self.steps(batch))

    async def follow(self, batch: Batch) -> None:
        """Do the same in slices: streams and commands have their turn in between.

        Streams see the clouds as they were before, or those of the whole batch.
        """
        async with self._changing:
            await in_slices(self.steps(batch), took=batch.report_cost)
        await self.save(batch)

    @asynccontextmanager
    async def settled(self) -> AsyncIterator[None]:
        """Keep batches and commands away meanwhile."""
        async with self._changing:
            yield

    async def save(self, batch: Batch) -> None:
        """Save the clouds after a batch, with `--state-dir`: the first at once, others soon."""
        if self.last_good is not None and self.change is not None:
            await self.last_good.save(changed=self.change.is_any or batch.complete)

    def steps(self, batch: Batch) -> Steps[None]:
        """Do what `apply` does, in steps; nothing else may change the catalog meanwhile."""
        start, held = time.perf_counter(), len(self.catalog.held)
        change = yield from self.catalog.steps(batch, now=time.monotonic())
        for problem in change.new_problems[:LOGGED_PROBLEMS]:
            _log.warning("registry entry refused, keeping the last good version: %s", problem)
        if len(change.new_problems) > LOGGED_PROBLEMS:
            more = len(change.new_problems) - LOGGED_PROBLEMS
            _log.warning("%d more registry entries are refused; /status lists all of them", more)
        for word in change.new_undeclared[:LOGGED_PROBLEMS]:
            types = change.inventory.service_types
            _log.warning("%s", self.catalog.undeclared.sentence(word, types))
        if len(change.new_undeclared) > LOGGED_PROBLEMS:
            more = len(change.new_undeclared) - LOGGED_PROBLEMS
            _log.warning("%d more service types are not declared; /status lists them", more)
        if change.service_types:
            _log.info(
                "service types changed: %s", listed(sorted(change.service_types), LOGGED_PROBLEMS)
            )
        if self.catalog.held and not held:  # those that follow have a line each as it is
            _log.warning(
                "mass loss: %d clouds were lost at once; these, and those lost next, are held as "
                "they were until they are registered again, or released with `scopeway cloud "
                "release`",
                len(self.catalog.held),
            )
        if batch.stale != self.stale:
            _log.warning("%s", batch.stale or "the registry is reachable again")
        self.stale = batch.stale
        known = None
        if batch.stale is not None:  # told again, it may give another reason only
            known = batch.current_until or self.staleness.until or time.time()
        yield from self._take_over(change, known)
        self.metrics.updates.observe(time.perf_counter() - start)

    def _take_over(self, change: Change, known_until: float | None) -> Steps[None]:
        self.change = change
        self.on_change(change)
        self._measure(change)
        before = self.staleness.until
        if known_until is not None:
            self.staleness.until = known_until
        if self.source is None:
            self.source = self._make_source(change)
            return
        if change.is_any:
            yield from self.source.steps(change.inventory, change.clouds)
        if before is not None and known_until is None:
            # not before: until a site has been made anew, an Envoy that comes may know more
            self.staleness.until = None
            yield from self.source.catch_up()

    async def give_up(self, names: Collection[str] | None) -> tuple[list[str], list[str]]:
        """Do what `release` does, once no batch is being taken over; the saved clouds follow."""
        async with self._changing:
            released, not_held = self.release(names)
        if released and self.last_good is not None:
            await self.last_good.save(changed=True)
        return released, not_held

    def release(self, names: Collection[str] | None) -> tuple[list[str], list[str]]:
        """Release clouds that are held after a mass loss; None means all of them.

        Returns:
            The names that were released, and those that are not held.
        """
        held = self.catalog.held
        wanted = sorted(held if names is None else set(names))
        released = [name for name in wanted if name in held]
        if released:
            _log.warning("released by an operator: %s", listed(released, LOGGED_PROBLEMS))
            finish(self._take_over(self.catalog.release(released), self.staleness.until))
        return released, [name for name in wanted if name not in released]

    def lag(self) -> float:
        """Return the seconds since the last confirmed read of the registry; 0 while reachable."""
        until = self.staleness.until
        return 0.0 if until is None else max(time.time() - until, 0.0)

    def status(self) -> Mapping[str, Any]:
        """Return the state of the registry and its clouds, as /status shows it."""
        return status.registry_status(
            name=self.registry.name if self.registry else "",
            change=self.change,
            stale=self.stale,
            lag=self.lag(),
            held=self.catalog.held,
            undeclared=self._undeclared(),
            policies=self.source.policy_problems() if self.source else {},
        )

    def _undeclared(self) -> list[str]:
        if self.change is None:
            return []
        types = self.change.inventory.service_types
        return self.catalog.undeclared.sentences(types, STATUS_UNDECLARED)

    def stale_envoys(self) -> Mapping[str, int]:
        """Return how many Envoys there are in each state of `status.STALE`; none but while stale.

        Costs O(streams); for the thread of a scrape, too.
        """
        counts = dict.fromkeys(status.STALE, 0)
        for session in self.server.sessions() if self.server else ():
            known = None if session.node is None else self._knows(session.node.cluster)
            if known is None:
                continue
            counts[status.stale_state(known, session.kept, session.sent_outdated)] += 1
        return counts

    def _knows(self, cloud: str) -> bool | None:
        """Return whether a cloud is known where the registry is away; None where it isn't."""
        if not self.staleness.is_outdated:
            return None
        return self.catalog.inventory.get(cloud) is not None

    async def streams(self) -> list[Mapping[str, Any]]:
        """Return the state of each Envoy's stream, as /status shows it.

        Costs O(all names in use), in slices, so that no push waits for it.
        """
        found: list[Mapping[str, Any]] = []
        now = time.monotonic()  # which is the clock of event loops
        end = time.perf_counter() + SLICE_SECONDS
        for stream in self.server.statuses() if self.server else ():
            found.append(status.stream_status(stream, now, known=self._knows(stream.node.cluster)))
            if len(found) % STATUS_SLICE == 0 or time.perf_counter() >= end:
                await asyncio.sleep(0)
                end = time.perf_counter() + SLICE_SECONDS
        return found

    def _make_source(self, change: Change) -> ScopewaySource:
        # a site with a certificate for this control plane can show it to other sites, too
        trust_domain = self.settings.trust_domain if self.settings.tls is not None else None
        site_resources.preload(trust_domain=trust_domain)
        insecure = self.settings.insecure_peers

        def make(cloud: Cloud, setup: Setup, types: DeclaredTypes) -> SiteResources:
            return site_resources.each_site_resource(
                cloud,
                setup,
                insecure_peers=insecure,
                trust_domain=trust_domain,
                types=types,
            )

        source = ScopewaySource(
            inventory=change.inventory,
            notifier=self.notifier,
            make_site=make,
            settings=PlanSettings(
                insecure_peers=insecure,
                direct=self.settings.direct,
                trust_domain=trust_domain,
            ),
            prefetch=self._prefetch_set(change.inventory),
            timer=self.timer,
            defer=self.background.add,
            staleness=self.staleness,
        )
        self.metrics.watch_source(source.stats)
        self.metrics.watch_envoys(self.stale_envoys)
        return source

    def _prefetch_set(self, inventory: Inventory) -> PrefetchSet | None:
        settings = self.settings
        if not settings.prefetch:
            return None
        selected = PrefetchSet(settings.prefetch, inventory, limit=settings.prefetch_limit)
        if not selected.clouds:
            _log.warning("--prefetch selects no cloud that is registered yet")
        if selected.left_out:
            _log.warning(
                "--prefetch selects %d clouds more than --prefetch-limit %d; the last by name are "
                "not prefetched",
                selected.left_out,
                settings.prefetch_limit,
            )
        return selected

    def _measure(self, change: Change) -> None:
        self.metrics.clouds.set(len(change.inventory))
        self.metrics.revision.set(change.inventory.revision)
        self.metrics.stale.set(self.stale is not None)
        self.metrics.refused_entries.set(len(change.problems))
        self.metrics.held.set(len(self.catalog.held))
        self.metrics.cordoned.set(len(change.inventory.cordons))
        self.metrics.service_types.set(len(change.inventory.declared.types))
        self.metrics.undeclared.set(len(self.catalog.undeclared))
