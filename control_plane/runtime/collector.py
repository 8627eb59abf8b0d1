"""The process of the collector: event loop, signals, descriptors, memory."""

import asyncio
import ctypes
import logging
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import uvloop

from scopeway.control_plane.collector.collector import serving
from scopeway.control_plane.collector.limits import Limits
from scopeway.control_plane.collector.validations import CONNECTIONS, serving_validations
from scopeway.control_plane.runtime import logs
from scopeway.control_plane.runtime.fd_limits import connection_limit

_log = logging.getLogger(__name__)

_M_MMAP_THRESHOLD, _MMAP_THRESHOLD = -3, 128 << 10


def run_collector(
    cloud: str,
    folder: Path,
    *,
    limits: Limits,
    users: frozenset[int],
    validation_seconds: float | None,
    log_level: str,
) -> None:
    """Run the collector of a cloud until SIGTERM or SIGINT.

    `validation_seconds`: how long answers to validations of tokens are kept; None: it answers none.

    Raises:
        ControlPlaneError: It cannot listen.
    """
    logs.set_up(log_level)
    connection_limit(limits.connections + limits.all_at_once + 2 * CONNECTIONS)
    _give_back_large_blocks()
    uvloop.run(_main(cloud, folder, limits, users, validation_seconds))


async def _main(
    cloud: str,
    folder: Path,
    limits: Limits,
    users: frozenset[int],
    validation_seconds: float | None,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(serving(folder, limits=limits, users=users))
        if validation_seconds is not None:
            await stack.enter_async_context(
                serving_validations(folder, cloud, seconds=validation_seconds, users=users)
            )
        _log.info(
            "the collector of %(cloud)s listens in %(folder)s",
            {"cloud": cloud, "folder": str(folder)},
            extra={"cloud": cloud, "folder": str(folder)},
        )
        await stop.wait()
        _log.info("the collector stops")


def _give_back_large_blocks() -> None:
    """Let glibc return answers to the system when they are freed.

    By itself it raises the size from which it does so to that of the largest block freed so far.
    """
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD)
