"""The HTTP addresses of a control plane: the admin address, health alone and metrics alone.

The health address says whether the process is alive and ready, and the metrics address shows
figures without names. So neither needs a flag beyond loopback, as the admin address does.
"""

import asyncio
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from scopeway.control_plane.admin.answers import Page
from scopeway.control_plane.admin.pages import kept, metrics_page, status_page
from scopeway.control_plane.admin.server import NO_COMMANDS, BadCommand, Command, PageServer
from scopeway.control_plane.clouds.addresses import is_loopback
from scopeway.control_plane.errors import ControlPlaneError
from scopeway.control_plane.runtime.control_plane import ControlPlane
from scopeway.control_plane.runtime.settings import Settings

T = TypeVar("T")

STATUS_SECONDS = 5.0
"""Seconds that /status, or a command, waits for the event loop."""


def check_admin(settings: Settings) -> None:
    """Refuse an admin address beyond loopback, unless `--insecure-admin` allows it.

    Raises:
        ControlPlaneError: it is refused.
    """
    host, port = settings.admin_listen
    if not (settings.insecure_admin or is_loopback(host)):
        raise ControlPlaneError(
            f"any client that reaches {shown_address(host, port)} could read the names of clouds "
            "and Envoys and all metrics over plain HTTP: allow it with --insecure-admin "
            "(--admin-listen); for probes there is --health-listen, for metrics --metrics-listen"
        )


@contextmanager
def serving_http(control_plane: ControlPlane) -> Iterator[Mapping[str, str]]:
    """Serve the addresses; yield them by what they are for, as people read them.

    Raises:
        ControlPlaneError: an address is used or does not exist.
    """
    settings = control_plane.settings
    loop = asyncio.get_running_loop()

    def on_loop(work: Coroutine[Any, Any, T]) -> T:
        """Do work on the event loop, which owns the streams, for a thread of a server."""
        return asyncio.run_coroutine_threadsafe(work, loop).result(STATUS_SECONDS)

    async def whole_status() -> Mapping[str, Any]:
        return {**control_plane.status(), "streams": await control_plane.streams()}

    async def release(names: list[str] | None) -> Mapping[str, Any]:
        released, not_held = await control_plane.give_up(names)
        return {"released": released, "not_held": not_held}

    health = control_plane.health.pages()
    metrics = metrics_page(control_plane.metrics.registry)
    status = status_page(lambda: on_loop(whole_status()))
    commands = {"/release": lambda command: on_loop(release(_names(command)))}
    with ExitStack() as stack:
        shown: dict[str, str] = {}

        def serve(
            name: str,
            address: tuple[str, int] | None,
            pages: Mapping[str, Page],
            commands: Mapping[str, Command] = NO_COMMANDS,
        ) -> None:
            if address is not None:
                server = PageServer(address, pages, commands=commands, option=f"--{name}-listen")
                shown[name] = shown_address(address[0], stack.enter_context(server).port)

        serve("admin", settings.admin_listen, {**health, **metrics, **status}, commands)
        serve("health", settings.health_listen, health)
        public = {path: kept(page) for path, page in metrics.items()}
        serve("metrics", settings.metrics_listen, public)
        yield shown


def shown_address(host: str, port: int) -> str:
    """Return host:port as people write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


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
