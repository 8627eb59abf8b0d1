"""The process of the collector: event loop, signals, descriptors, memory."""

import asyncio
import ctypes
import logging
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from scopeway.control_plane.clouds.addresses import is_loopback
from scopeway.control_plane.collector.collector import Collector, serving
from scopeway.control_plane.collector.http.sockets import COLLECT
from scopeway.control_plane.collector.limits import Limits
from scopeway.control_plane.collector.validation.validations import CONNECTIONS, serving_validations
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.runtime import logs
from scopeway.control_plane.runtime.fd_limits import connection_limit

if TYPE_CHECKING:
    from scopeway.control_plane.admin.server import PageServer

_log = logging.getLogger(__name__)

_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 128 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Where a collector serves pages, each as host and port; None: nowhere."""

    admin: tuple[str, int] | None
    """For health, metrics and status."""
    health: tuple[str, int] | None
    """For health alone."""
    metrics: tuple[str, int] | None
    """For metrics alone."""

    @property
    def is_any(self) -> bool:
        """Whether it serves any."""
        return any((self.admin, self.health, self.metrics))


def run_collector(
    cloud: str,
    folder: Path,
    *,
    limits: Limits,
    users: frozenset[int],
    validation_seconds: float | None,
    listen: Listen,
    insecure_admin: bool,
    log_level: str,
) -> None:
    """Run the collector of a cloud until SIGTERM or SIGINT.

    Args:
        cloud: Its name.
        folder: Of the sockets.
        limits: What it may use.
        users: Uids whose processes may be at the other end of a socket.
        validation_seconds: How long answers to validations of tokens are kept; None: it answers
            none.
        listen: Where health, metrics and status are served.
        insecure_admin: Whether the admin address may be beyond loopback.
        log_level: `debug` to `error`.

    Raises:
        ControlPlaneError: It cannot listen.
    """
    if listen.admin is not None and not insecure_admin:
        _check_loopback(*listen.admin)
    logs.set_up(log_level)
    connection_limit(limits.connections + limits.all_at_once + 2 * CONNECTIONS)
    _give_back_large_blocks()
    uvloop.run(_main(cloud, folder, limits, users, validation_seconds, listen))


async def _main(
    cloud: str,
    folder: Path,
    limits: Limits,
    users: frozenset[int],
    validation_seconds: float | None,
    listen: Listen,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(serving(folder, limits=limits, users=users))
        if validation_seconds is not None:
            await stack.enter_async_context(
                serving_validations(folder, cloud, seconds=validation_seconds, users=users)
            )
        if listen.is_any:
            for server in _page_servers(listen, cloud, collector):
                stack.enter_context(server)
        _log.info(
            "the collector of %(cloud)s listens in %(folder)s",
            {"cloud": cloud, "folder": str(folder)},
            extra={"cloud": cloud, "folder": str(folder)},
        )
        if not (folder / COLLECT).exists():
            _log.warning(
                "no Envoy listens in %(folder)s yet: start one whose bootstrap was written with "
                "--collector %(folder)s",
                {"folder": str(folder)},
            )
        await stop.wait()
        _log.info("the collector stops")


def _check_loopback(host: str, port: int) -> None:
    if not is_loopback(host):
        raise ControlPlaneError(
            f"any client that reaches {host}:{port} could read all metrics over plain HTTP: allow "
            "it with --insecure-admin (--admin-listen)"
        )


def _page_servers(listen: Listen, cloud: str, collector: Collector) -> "Iterator[PageServer]":
    """Yield a server for each address. Imported here: it takes 2 MiB of memory."""
    from prometheus_client import CollectorRegistry, ProcessCollector

    from scopeway.control_plane.admin.health import Health
    from scopeway.control_plane.admin.pages import kept, metrics_page, status_page
    from scopeway.control_plane.admin.server import PageServer
    from scopeway.control_plane.collector.metrics import CollectorMetrics

    registry = CollectorRegistry()
    registry.register(CollectorMetrics(collector.snapshot))
    ProcessCollector(registry=registry)
    health = Health()
    health.ready = True
    metrics = metrics_page(registry)
    status = status_page(lambda: _status(cloud, collector))
    if listen.admin is not None:
        pages = {**health.pages(), **metrics, **status}
        yield PageServer(listen.admin, pages, option="--admin-listen")
    if listen.health is not None:
        yield PageServer(listen.health, health.pages(), option="--health-listen")
    if listen.metrics is not None:
        public = {path: kept(page) for path, page in metrics.items()}
        yield PageServer(listen.metrics, public, option="--metrics-listen")


def _status(cloud: str, collector: Collector) -> dict[str, object]:
    now = collector.snapshot()
    return {
        "cloud": cloud,
        "requests_under_way": now.under_way,
        "sub_requests_under_way": now.sub_requests_under_way,
        "held_bytes": now.held_bytes,
        "failed": now.failed,
    }


def _give_back_large_blocks() -> None:
    """Let glibc return answers to the system when they are freed.

    By itself it raises the size from which it does so to that of the largest block freed so far.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
