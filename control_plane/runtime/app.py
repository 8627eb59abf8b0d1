"""The process of a control plane: starts and ends its parts, and handles signals.

Owns the order: nothing is served before the registry's first listing, and nothing is listened on
that is not safe. What happens in between is `control_plane`'s.
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import Any

from scopeway.control_plane.clouds.addresses import is_loopback
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.registry import Batch, Registry, open_registry
from scopeway.control_plane.runtime import fd_limits, gc_tuning, logs
from scopeway.control_plane.runtime.control_plane import ControlPlane
from scopeway.control_plane.runtime.event_loop_lag import LoopLag
from scopeway.control_plane.runtime.http_addresses import (
    check_admin,
    serving_http,
    shown_address,
)
from scopeway.control_plane.runtime.last_good import PATIENCE_WITH_LAST_GOOD, LastGoodRegistry
from scopeway.control_plane.runtime.server_tls import POLL_SECONDS, ReloadingServerCredentials
from scopeway.control_plane.runtime.settings import Settings
from scopeway.control_plane.runtime.status_updates import StatusUpdates, status_updates
from scopeway.xds.errors import ListenError
from scopeway.xds.grpc_server.server import Server
from scopeway.xds.grpc_server.server import serve as serve_xds
from scopeway.xds.limits import Limits

_log = logging.getLogger(__name__)

CPU_SHARE = 0.25
"""Of one core, for all Envoys of one cloud, in the long run."""
CPU_BURST = 10.0
"""Seconds of CPU for them at once: as much as twenty Envoys with 10,000 targets each need at a
control plane that has started anew, 0.5 s each; they come back to one that knows them in 0.05 s."""
CLOUD_CONNECTS_PER_SECOND = 4.0
"""New streams of all Envoys of one cloud, after 64 at once."""


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

    def drain() -> None:
        if control_plane.server is None or control_plane.leaving.is_set():
            serving.cancel()
        else:
            control_plane.leaving.set()

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, drain)
    loop.add_signal_handler(signal.SIGINT, serving.cancel)
    await asyncio.wait((serving,))
    if not serving.cancelled():
        serving.result()


async def _serve(control_plane: ControlPlane) -> None:
    gc_tuning.map_large_blocks_separately()
    settings = control_plane.settings
    credentials = _server_credentials(settings)
    check_admin(settings)
    with serving_http(control_plane) as http:
        registry, status = _open(control_plane)
        control_plane.timer = asyncio.get_running_loop()
        try:
            async with aclosing(registry.watch()) as batches:
                with gc_tuning.without_collections():
                    first = await anext(batches)
                    control_plane.apply(first)
                    await control_plane.save(first)  # a crash from here on can start from it
                await _serve_envoys(
                    control_plane, registry.name, batches, http, credentials, status
                )
        finally:
            await registry.close()


def _open(control_plane: ControlPlane) -> tuple[Registry, StatusUpdates | None]:
    """Open the registry; with a state directory, its last good clouds are saved on disk.

    Returns:
        The registry, and what writes the status of its objects, if they have one.
    """
    settings = control_plane.settings
    if settings.state_dir is None:
        opened = control_plane.registry = open_registry(settings.registry)
    else:
        opened = open_registry(settings.registry, patience=PATIENCE_WITH_LAST_GOOD)
        control_plane.last_good = LastGoodRegistry(
            opened, settings.state_dir, lambda: control_plane.catalog.inventory
        )
        control_plane.registry = control_plane.last_good
    return control_plane.registry, status_updates(control_plane, opened)


async def _serve_envoys(
    control_plane: ControlPlane,
    registry: str,
    batches: AsyncIterator[Batch],
    http: Mapping[str, str],
    credentials: ReloadingServerCredentials | None,
    status: StatusUpdates | None,
) -> None:
    """Serve what the first batch has brought, and follow the others."""
    assert control_plane.source is not None
    host, port = control_plane.settings.xds_listen
    try:
        async with (
            serve_xds(
                control_plane.source,
                listen=shown_address(host, port),
                notifier=control_plane.notifier,
                observer=control_plane.metrics,
                limits=xds_limits(),
                security=None if credentials is None else credentials.security(),
            ) as server,
            _reloading_certificates(credentials, server),
            _running(gc_tuning.return_free_memory(control_plane.source.activity), "memory"),
            nullcontext() if status is None else _running(status.run(), "status"),
            _draining(control_plane, server),
        ):
            control_plane.server = server
            control_plane.loop_lag.take()  # nobody has waited for the first listing
            control_plane.health.ready = True
            _log.info(
                "ready: %d clouds from %s, xDS on %s, %s",
                len(control_plane.catalog.inventory),
                registry,
                shown_address(host, server.port),
                ", ".join(f"{name} on {address}" for name, address in http.items()),
            )
            async for batch in batches:
                await control_plane.follow(batch)
    except ListenError as error:
        raise ControlPlaneError(f"{error} (--xds-listen)") from None


def xds_limits() -> Limits:
    """Return the limits of one client: all Envoys of one cloud."""
    return Limits(
        connections=fd_limits.connection_limit(Limits().connections),
        cpu_share=CPU_SHARE,
        cpu_burst=CPU_BURST,
        client_connects_per_second=CLOUD_CONNECTS_PER_SECOND,
    )


def _server_credentials(settings: Settings) -> ReloadingServerCredentials | None:
    """Return the credentials of the xDS server; None: it uses plain text.

    Raises:
        ControlPlaneError: the certificate cannot be used, or plain text is not allowed here.
    """
    if settings.tls is not None:
        return ReloadingServerCredentials(settings.tls, settings.trust_domain)
    host, port = settings.xds_listen
    if not (settings.insecure_xds or is_loopback(host)):
        raise ControlPlaneError(
            f"any client that reaches {shown_address(host, port)} could read the clusters and "
            "listeners of every cloud: pass --tls-cert, --tls-key and --tls-ca, or allow it with "
            "--insecure-xds"
        )
    return None


@asynccontextmanager
async def _draining(control_plane: ControlPlane, server: Server) -> AsyncIterator[None]:
    """Drain the streams once `leaving` is set, then end the task of the block.

    The registry is followed meanwhile: a stream that has not been drained yet is served as before.
    """
    serving = asyncio.current_task()
    assert serving is not None

    async def drain() -> None:
        await control_plane.leaving.wait()
        control_plane.health.leaving = True
        await server.drain_slowly(over=control_plane.settings.drain_seconds)
        serving.cancel()

    async with _running(drain(), "drain"):
        yield


@asynccontextmanager
async def _reloading_certificates(
    credentials: ReloadingServerCredentials | None, server: Server
) -> AsyncIterator[None]:
    """Reload renewed certificates, and end the streams that they cut off."""

    async def reload(credentials: ReloadingServerCredentials) -> None:
        while True:
            await asyncio.sleep(POLL_SECONDS)
            if await asyncio.to_thread(credentials.refresh):
                server.recheck()

    if credentials is None:
        yield
        return
    async with _running(reload(credentials), "certificates"):
        yield


@asynccontextmanager
async def _running(work: Coroutine[Any, Any, None], name: str) -> AsyncIterator[None]:
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait((task,))
