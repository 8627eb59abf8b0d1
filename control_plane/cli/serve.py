"""`scopeway serve`: the control plane."""

import asyncio
import os
from pathlib import Path

import click

from control_plane.cli.options import address, registry_option


@click.command()
@registry_option
@click.option(
    "--xds-listen",
    type=address,
    metavar="HOST:PORT",
    default="127.0.0.1:18000",
    show_default=True,
    envvar="SCOPEWAY_XDS_LISTEN",
    help="Where Envoys connect.",
)
@click.option(
    "--admin-listen",
    type=address,
    metavar="HOST:PORT",
    default="127.0.0.1:18002",
    show_default=True,
    envvar="SCOPEWAY_ADMIN_LISTEN",
    help="Where /healthz, /readyz, /metrics and /status answer.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SCOPEWAY_STATE_DIR",
    help="Folder of the last good inventory, to start from when the registry is away.",
)
@click.option(
    "--insecure-peers",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_PEERS",
    help="Let sites speak plain HTTP/2 to each other beyond loopback.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="SCOPEWAY_LOG_LEVEL",
)
def serve(
    registry: str,
    xds_listen: tuple[str, int],
    admin_listen: tuple[str, int],
    state_dir: Path | None,
    insecure_peers: bool,
    log_level: str,
) -> None:
    """Serve clusters, routes, listeners and filters to the Envoys of all sites.

    Nothing is served before the registry has been read once. Ends on SIGINT and SIGTERM.
    """
    # gRPC tells a used port in a line of its own, beside our sentence; read when it is imported
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from control_plane.app import run
    from control_plane.settings import Settings

    settings = Settings(
        registry=registry,
        xds_listen=xds_listen,
        admin_listen=admin_listen,
        state_dir=state_dir,
        insecure_peers=insecure_peers,
        log_level=log_level,
    )
    asyncio.run(run(settings))
