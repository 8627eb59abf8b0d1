"""`scopeway serve`: the control plane."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopeway.control_plane.cli.options import (
    address,
    direct_option,
    registry_option,
    three_files,
    tls_options,
    trust_domain_option,
)

if TYPE_CHECKING:
    from scopeway.control_plane.clouds.addresses import AllowedAddress
    from scopeway.control_plane.scope import Expression


def expression(text: str) -> "Expression":
    """Read what selects clouds to prefetch."""
    from scopeway.control_plane.planner.prefetch import parse_prefetch
    from scopeway.control_plane.scope import ScopeError

    try:
        return parse_prefetch(text)
    except ScopeError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


@click.command()
@registry_option
@click.option(
    "--xds-listen",
    type=address,
    metavar="HOST:PORT",
    default="127.0.0.1:18000",
    show_default=True,
    envvar="SCOPEWAY_XDS_LISTEN",
    show_envvar=True,
    help="Where Envoys connect.",
)
@click.option(
    "--admin-listen",
    type=address,
    metavar="HOST:PORT",
    default="127.0.0.1:18002",
    show_default=True,
    envvar="SCOPEWAY_ADMIN_LISTEN",
    show_envvar=True,
    help="Where /healthz, /readyz, /metrics and /status answer.",
)
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SCOPEWAY_STATE_DIR",
    show_envvar=True,
    help="Folder of the last good inventory, to start from when the registry is away.",
)
@tls_options("The certificate of this control plane; Envoys have to come with one of their own.")
@trust_domain_option
@click.option(
    "--insecure-xds",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_XDS",
    show_envvar=True,
    help="Without --tls-…: listen beyond loopback all the same. Whoever reaches the address may "
    "then ask for the clusters, listeners and policies of any cloud.",
)
@click.option(
    "--insecure-admin",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_ADMIN",
    show_envvar=True,
    help="Listen with --admin-listen beyond loopback, where there is no TLS and no login. Whoever "
    "reaches the address may then read which clouds and Envoys there are, what these use, and all "
    "figures; commands are taken from this machine only all the same.",
)
@click.option(
    "--insecure-peers",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_PEERS",
    show_envvar=True,
    help="Without --tls-…: let sites speak plain HTTP/2 to each other beyond loopback. Whoever "
    "reaches a peer may then claim to be any cloud.",
)
@direct_option
@click.option(
    "--prefetch",
    type=expression,
    multiple=True,
    envvar="SCOPEWAY_PREFETCH",
    show_envvar=True,
    metavar="EXPRESSION",
    help="Give every Envoy the targets of these clouds before it asks: '[tier=core]', "
    "'cloud-1|cloud-2'. May be given again.",
)
@click.option(
    "--prefetch-limit",
    type=click.IntRange(min=1),
    metavar="CLOUDS",
    default=100,
    show_default=True,
    envvar="SCOPEWAY_PREFETCH_LIMIT",
    show_envvar=True,
    help="How many clouds --prefetch selects at most, the first by name.",
)
@click.option(
    "--drain-seconds",
    type=click.IntRange(0, 3600),
    metavar="SECONDS",
    default=5,
    show_default=True,
    envvar="SCOPEWAY_DRAIN_SECONDS",
    show_envvar=True,
    help="At SIGTERM, send the Envoys to other control planes one after the other, within so many "
    "seconds; 0: all at once.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="SCOPEWAY_LOG_LEVEL",
    show_envvar=True,
)
def serve(
    registry: str,
    xds_listen: tuple[str, int],
    admin_listen: tuple[str, int],
    state_dir: Path | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    trust_domain: str,
    insecure_xds: bool,
    insecure_admin: bool,
    insecure_peers: bool,
    direct: "tuple[AllowedAddress, ...]",
    prefetch: "tuple[Expression, ...]",
    prefetch_limit: int,
    drain_seconds: int,
    log_level: str,
) -> None:
    """Run a control plane for the Envoys of all sites.

    It serves them clusters, routes, listeners and filters; nothing before the registry has been
    read once. Ends on SIGTERM, when its Envoys have been sent elsewhere (--drain-seconds); at once
    on SIGINT, or a second SIGTERM.

    With --tls-… an Envoy gets what belongs to the cloud in its certificate and nothing else;
    renewed files are taken without a restart. Without, every Envoy is believed, on loopback only.
    """
    tls = three_files(tls_cert, tls_key, tls_ca)
    # gRPC tells a used port in a line of its own, beside our sentence; read when it is imported
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from scopeway.control_plane.identity.files import IdentityFiles
    from scopeway.control_plane.runtime.app import run
    from scopeway.control_plane.runtime.settings import Settings

    identity = None
    if tls is not None:
        certificate, key, authorities = tls
        identity = IdentityFiles(certificate=certificate, key=key, authorities=authorities)
    settings = Settings(
        registry=registry,
        xds_listen=xds_listen,
        admin_listen=admin_listen,
        state_dir=state_dir,
        tls=identity,
        trust_domain=trust_domain,
        insecure_xds=insecure_xds,
        insecure_admin=insecure_admin,
        insecure_peers=insecure_peers,
        direct=direct or None,
        prefetch=prefetch,
        prefetch_limit=prefetch_limit,
        drain_seconds=drain_seconds,
        log_level=log_level,
    )
    run(settings)
