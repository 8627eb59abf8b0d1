"""The running control plane: registry in, xDS out.

Owns the life of the parts and their order: nothing is served before the registry's first listing.
All rules are in the parts; this file only ties them.
"""

import asyncio
import logging
import signal
import time
from collections.abc import (
    AsyncIterator,
    Collection,
    Coroutine,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, asynccontextmanager, contextmanager
from typing import Any, TypeVar

from scopeway.control_plane.admin import status
from scopeway.control_plane.admin.metrics import Metrics
from scopeway.control_plane.admin.server import AdminServer, BadCommand
from scopeway.control_plane.catalog.catalog import Catalog, Change
from scopeway.control_plane.clouds.addresses import is_loopback
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.registry import Batch, Registry, open_registry
from scopeway.control_plane.runtime import fd_limits, gc_tuning, logs
from scopeway.control_plane.runtime.background import BackgroundQueue
from scopeway.control_plane.runtime.last_good import PATIENCE_WITH_LAST_GOOD, LastGoodRegistry
from scopeway.control_plane.runtime.loop_lag import LoopLag
from scopeway.control_plane.runtime.server_tls import POLL_SECONDS, ReloadingServerCredentials
from scopeway.control_plane.runtime.settings import Settings
from scopeway.control_plane.runtime.slices import in_slices
from scopeway.control_plane.serving.policy_index import Timer
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.site_cache import SiteResources
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.translator import site_resources
from scopeway.control_plane.translator.node_setup import Setup
from scopeway.xds.errors import ListenError
from scopeway.xds.grpc_server.server import Server
from scopeway.xds.grpc_server.server import serve as serve_xds
from scopeway.xds.limits import Limits
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.steps import Steps, finish

_log = logging.getLogger(__name__)
T = TypeVar("T")

STATUS_SECONDS = 5.0
"""How long /status, or a command, waits for the event loop."""
STATUS_SLICE = 16
"""Streams looked at between two turns of the event loop, about 1 ms."""
SLICE_SECONDS = 0.002
"""Fewer of them, where these use much, after so long a time."""
CPU_SHARE = 0.25
"""Of one core, for all Envoys of one cloud, in the long run."""
CPU_BURST = 10.0
"""Seconds of CPU for them at once: as much as twenty Envoys with 10,000 targets each need at a
control plane that has started anew, 0.5 s each; they come back to one that knows them in 0.05 s."""
CLOUD_CONNECTS_PER_SECOND = 4.0
"""New streams of all Envoys of one cloud, after 64 at once."""
LOGGED_PROBLEMS = 20
"""Entries of one batch that are refused with a line of their own."""


class ControlPlane:
    """The state that the parts share: the catalog, and the source once there is one."""

    def __init__(self, settings: Settings, loop_lag: LoopLag | None = None) -> None:
        self.settings = settings
        self.metrics = Metrics()
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
        self._changing = asyncio.Lock()
        self.timer: Timer | None = None
        """The event loop, where there is one."""
        self.leaving = asyncio.Event()
        """Set when the streams are to be sent elsewhere."""
        self.metrics.lag.set_function(self.lag)
        self.metrics.loop_lag.set_function(self.loop_lag.take)

    def apply(self, batch: Batch) -> None:
        """Take over a batch of the registry, and tell the streams that it concerns."""
        finish(self.steps(batch))

    async def follow(self, batch: Batch) -> None:
        """Do the same in slices: streams and commands have their turn in between.

        Streams see the clouds as they were before, or those of the whole batch.
        """
        async with self._changing:
            await in_slices(self.steps(batch), took=batch.report_cost)
        await self.save(batch)

    async def save(self, batch: Batch) -> None:
        """Save the clouds after a batch, with `--state-dir`: the first at once, others soon."""
        if self.last_good is not None and self.change is not None:
            await self.last_good.save(changed=bool(self.change.clouds) or batch.complete)

    def steps(self, batch: Batch) -> Steps[None]:
        """Do what `apply` does, step by step; nothing else may change it meanwhile."""
        start, held = time.perf_counter(), len(self.catalog.held)
        change = yield from self.catalog.steps(batch, now=time.monotonic())
        for problem in change.new_problems[:LOGGED_PROBLEMS]:
            _log.warning("refused, the last good version stays: %s", problem)
        if len(change.new_problems) > LOGGED_PROBLEMS:
            more = len(change.new_problems) - LOGGED_PROBLEMS
            _log.warning("and %d more entries are refused; /status has them all", more)
        if self.catalog.held and not held:  # those that follow have a line each as it is
            _log.warning(
                "a storm: %d clouds were lost at once and stay as they were, with all that follow, "
                "until they are registered again, or given up with `scopeway cloud release`",
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
        self._measure(change)
        before = self.staleness.until
        if known_until is not None:
            self.staleness.until = known_until
        if self.source is None:
            self.source = self._make_source(change)
            return
        if change.clouds:
            yield from self.source.steps(change.inventory, change.clouds)
        if before is not None and known_until is None:
            # not before: until a site has been made anew, an Envoy that comes may know more
            self.staleness.until = None
            yield from self.source.catch_up()

    async def give_up(self, names: Collection[str] | None) -> tuple[list[str], list[str]]:
        """Do what `release` does, after what is being taken over."""
        async with self._changing:
            released, not_held = self.release(names)
        if released and self.last_good is not None:
            await self.last_good.save(changed=True)
        return released, not_held

    def release(self, names: Collection[str] | None) -> tuple[list[str], list[str]]:
        """Give up clouds that are held after a storm; None means all of them.

        Returns:
            The names that were given up, and those that aren't held, which have no effect.
        """
        held = self.catalog.held
        wanted = sorted(held if names is None else set(names))
        released = [name for name in wanted if name in held]
        if released:
            _log.warning("given up by an operator: %s", _some(released))
            finish(self._take_over(self.catalog.release(released), self.staleness.until))
        return released, [name for name in wanted if name not in released]

    def lag(self) -> float:
        """Return for how many seconds what is known has not surely been what the registry holds."""
        until = self.staleness.until
        return 0.0 if until is None else max(time.time() - until, 0.0)

    def status(self) -> Mapping[str, Any]:
        """Return what is known of the registry, as /status shows it."""
        return status.registry_status(
            name=self.registry.name if self.registry else "",
            change=self.change,
            stale=self.stale,
            lag=self.lag(),
            held=self.catalog.held,
            policies=self.source.policy_problems() if self.source else {},
        )

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
        """Return how far each Envoy has come, as /status shows it.

        Costs O(all names in use), in slices: nobody's push waits for who looks.
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
        # who proves itself to us can prove itself to the other sites
        trust_domain = self.settings.trust_domain if self.settings.tls is not None else None
        site_resources.preload(trust_domain=trust_domain)
        insecure = self.settings.insecure_peers

        def make(cloud: Cloud, setup: Setup) -> SiteResources:
            return site_resources.each_site_resource(
                cloud,
                setup.access_log,
                earlier=setup.earlier,
                insecure_peers=insecure,
                trust_domain=trust_domain,
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
                "--prefetch selects %d clouds more than --prefetch-limit %d; these are not "
                "prefetched, the last by name",
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


def run(settings: Settings) -> None:
    """Serve until SIGINT, or SIGTERM and the drain that it begins.

    Raises:
        ControlPlaneError: an address is used, or the registry cannot be read at the start.
    """
    logs.set_up(settings.log_level)
    loop_lag = LoopLag()
    with loop_lag.measured() as runner:
        runner.run(_run(ControlPlane(settings, loop_lag)))


async def _run(control_plane: ControlPlane) -> None:
    serving = asyncio.create_task(_serve(control_plane), name="serve")

    def leave() -> None:
        if control_plane.server is None or control_plane.leaving.is_set():
            serving.cancel()
        else:
            control_plane.leaving.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, leave)
    loop.add_signal_handler(signal.SIGINT, serving.cancel)
    await asyncio.wait((serving,))
    if not serving.cancelled():
        serving.result()


async def _serve(control_plane: ControlPlane) -> None:
    gc_tuning.map_large_blocks_separately()
    settings = control_plane.settings
    credentials = _server_credentials(settings)
    _check_admin(settings)
    with _admin(control_plane) as admin:
        registry = _open(control_plane)
        control_plane.timer = asyncio.get_running_loop()
        try:
            async with aclosing(registry.watch()) as batches:
                with gc_tuning.without_collections():
                    first = await anext(batches)
                    control_plane.apply(first)
                    await control_plane.save(first)  # a crash from here on can start from it
                await _serve_envoys(control_plane, registry.name, batches, admin, credentials)
        finally:
            await registry.close()


def _open(control_plane: ControlPlane) -> Registry:
    """Open the registry; with a state directory, its last good clouds are saved on disk."""
    settings = control_plane.settings
    if settings.state_dir is None:
        control_plane.registry = open_registry(settings.registry)
        return control_plane.registry
    registry = open_registry(settings.registry, patience=PATIENCE_WITH_LAST_GOOD)
    control_plane.last_good = LastGoodRegistry(
        registry, settings.state_dir, lambda: control_plane.catalog.inventory
    )
    control_plane.registry = control_plane.last_good
    return control_plane.registry


async def _serve_envoys(
    control_plane: ControlPlane,
    registry: str,
    batches: AsyncIterator[Batch],
    admin: AdminServer,
    credentials: ReloadingServerCredentials | None,
) -> None:
    """Serve what the first batch has brought, and follow the others."""
    assert control_plane.source is not None
    host, port = control_plane.settings.xds_listen
    try:
        async with (
            serve_xds(
                control_plane.source,
                listen=_address(host, port),
                notifier=control_plane.notifier,
                observer=control_plane.metrics,
                limits=xds_limits(),
                security=None if credentials is None else credentials.security(),
            ) as server,
            _renewed(credentials, server),
            _in_background(gc_tuning.return_free_memory(control_plane.source.activity), "memory"),
            _left_when_told(control_plane, server, admin),
        ):
            control_plane.server = server
            control_plane.loop_lag.take()  # nobody has waited for the first listing
            admin.ready = True
            _log.info(
                "ready: %d clouds from %s, xDS on %s, admin on %s",
                len(control_plane.catalog.inventory),
                registry,
                _address(host, server.port),
                _address(control_plane.settings.admin_listen[0], admin.port),
            )
            async for batch in batches:
                await control_plane.follow(batch)
    except ListenError as error:
        raise ControlPlaneError(f"{error} (--xds-listen)") from None


def xds_limits() -> Limits:
    """Return what one client, which is all Envoys of one cloud, may cost this process."""
    return Limits(
        connections=fd_limits.connection_limit(Limits().connections),
        cpu_share=CPU_SHARE,
        cpu_burst=CPU_BURST,
        client_connects_per_second=CLOUD_CONNECTS_PER_SECOND,
    )


def _server_credentials(settings: Settings) -> ReloadingServerCredentials | None:
    """Return the mutual TLS of the control plane; None where it is to speak plain text.

    Raises:
        ControlPlaneError: the certificate cannot be used, or plain text is not safe here.
    """
    if settings.tls is not None:
        return ReloadingServerCredentials(settings.tls, settings.trust_domain)
    host, port = settings.xds_listen
    if not (settings.insecure_xds or is_loopback(host)):
        raise ControlPlaneError(
            f"whoever reaches {_address(host, port)} could ask for the clusters and listeners of "
            "any cloud: give --tls-cert, --tls-key and --tls-ca, or allow it with --insecure-xds"
        )
    return None


def _check_admin(settings: Settings) -> None:
    """Refuse an admin address that others than this machine's would reach, unless it is wanted.

    Raises:
        ControlPlaneError: it is one.
    """
    host, port = settings.admin_listen
    if not (settings.insecure_admin or is_loopback(host)):
        raise ControlPlaneError(
            f"whoever reaches {_address(host, port)} could read which clouds and Envoys there are, "
            "and all figures, over plain HTTP: allow it with --insecure-admin (--admin-listen)"
        )


@asynccontextmanager
async def _left_when_told(
    control_plane: ControlPlane, server: Server, admin: AdminServer
) -> AsyncIterator[None]:
    """Send the streams elsewhere once that is wanted, and end the block's task when it is done.

    The registry is followed all the while: who waits for its turn is served as before.
    """
    serving = asyncio.current_task()
    assert serving is not None

    async def leave() -> None:
        await control_plane.leaving.wait()
        admin.leaving = True
        await server.drain_slowly(over=control_plane.settings.drain_seconds)
        serving.cancel()

    async with _in_background(leave(), "leave"):
        yield


@asynccontextmanager
async def _renewed(
    credentials: ReloadingServerCredentials | None, server: Server
) -> AsyncIterator[None]:
    """Look whether the certificate was renewed, and end the streams of those cut off by it."""

    async def look(credentials: ReloadingServerCredentials) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if await asyncio.to_thread(credentials.refresh):
                server.recheck()

    if credentials is None:
        yield
        return
    async with _in_background(look(credentials), "certificates"):
        yield


@asynccontextmanager
async def _in_background(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@contextmanager
def _admin(control_plane: ControlPlane) -> Iterator[AdminServer]:
    loop = asyncio.get_running_loop()

    def on_loop(work: Coroutine[Any, Any, T]) -> T:
        """Do work on the event loop, which owns the streams, for a thread of the admin server."""
        return asyncio.run_coroutine_threadsafe(work, loop).result(STATUS_SECONDS)

    async def whole_status() -> Mapping[str, Any]:
        return {**control_plane.status(), "streams": await control_plane.streams()}

    async def release(names: list[str] | None) -> Mapping[str, Any]:
        released, not_held = await control_plane.give_up(names)
        return {"released": released, "not_held": not_held}

    server = AdminServer(
        control_plane.settings.admin_listen,
        registry=control_plane.metrics.registry,
        status=lambda: on_loop(whole_status()),
        commands={"/release": lambda command: on_loop(release(_names(command)))},
    )
    server.start()
    try:
        yield server
    finally:
        server.close()


def _names(command: Mapping[str, Any]) -> list[str] | None:
    """Return the clouds that a command to release names; None means all."""
    names = command.get("clouds")
    if command.keys() == {"all"} and command["all"] is True:
        return None
    if command.keys() == {"clouds"} and isinstance(names, list) and names == _texts(names):
        return names
    raise BadCommand('say which: {"clouds": ["cloud-9"]} or {"all": true}')


def _texts(values: Iterable[object]) -> list[str]:
    return [value for value in values if isinstance(value, str)]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:LOGGED_PROBLEMS])
    more = len(names) - LOGGED_PROBLEMS
    return f"{shown} and {more} more" if more > 0 else shown
