"""`scopeway serve`: the control plane."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from scopeway.control_plane.cli.options import (
    address,
    direct_option,
    health_option,
    log_level_option,
    metrics_option,
    registry_option,
    three_files,
    tls_options,
    trust_domain_option,
)

if TYPE_CHECKING:
    from scopeway.control_plane.clouds.addresses import AllowedAddress
    from scopeway.control_plane.scope import Expression


NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
MAX_REPLICA = 200
"""Characters of a replica's name, which the names of its objects begin with."""


def expression(text: str) -> "Expression":
    """Parse an expression that selects clouds to prefetch."""
    from scopeway.control_plane.planner.prefetch import parse_prefetch
    from scopeway.control_plane.scope import ScopeError

    try:
        return parse_prefetch(text)
    except ScopeError as error:
        raise click.BadParameter(f"{text!r}: {error}") from None


def kubernetes_name(name: str | None, most: int) -> str | None:
    """Return a name that a part of an object's name may be.

    Args:
        name: The name; None stays None.
        most: Characters.
    """
    if name is None or (len(name) <= most and NAME.fullmatch(name)):
        return name
    raise click.BadParameter(
        f"{name!r} is not a name of at most {most} lower case letters, digits and inner '-'"
    )


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
@health_option("SCOPEWAY_HEALTH_LISTEN")
@metrics_option("SCOPEWAY_METRICS_LISTEN")
@click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="SCOPEWAY_STATE_DIR",
    show_envvar=True,
    help="Folder of the last good inventory, to start from when the registry is away.",
)
@tls_options("The certificate of this control plane; Envoys must present one of their own.")
@trust_domain_option
@click.option(
    "--insecure-xds",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_XDS",
    show_envvar=True,
    help="Without --tls-…: listen beyond loopback, too. Any client that reaches the address can "
    "then read the clusters, listeners and policies of every cloud.",
)
@click.option(
    "--insecure-admin",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_ADMIN",
    show_envvar=True,
    help="Allow --admin-listen beyond loopback, without TLS and login. Any client that reaches the "
    "address can then read the names of clouds and Envoys, what these use, and all metrics; "
    "commands are still accepted from this machine only.",
)
@click.option(
    "--insecure-peers",
    is_flag=True,
    envvar="SCOPEWAY_INSECURE_PEERS",
    show_envvar=True,
    help="Without --tls-…: let sites speak plain HTTP/2 to each other beyond loopback. Any "
    "client that reaches a peer can then claim to be any cloud.",
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
    help="At SIGTERM, drain the Envoys to other control planes one after the other, within so many "
    "seconds; 0: all at once.",
)
@click.option(
    "--status-namespace",
    callback=lambda _, __, value: kubernetes_name(value, 63),
    metavar="NAMESPACE",
    envvar="SCOPEWAY_STATUS_NAMESPACE",
    show_envvar=True,
    help="With the registry kubernetes:, the namespace where replicas agree who writes the status "
    "of objects. Default: that of this pod; outside of a pod no status is written.",
)
@click.option(
    "--replica",
    callback=lambda _, __, value: kubernetes_name(value, MAX_REPLICA),
    metavar="NAME",
    envvar="SCOPEWAY_REPLICA",
    show_envvar=True,
    help="The name of this replica in that namespace. Default: the host name.",
)
@click.option(
    "--disconnected-after",
    type=click.IntRange(1, 3600),
    metavar="SECONDS",
    default=60,
    show_default=True,
    envvar="SCOPEWAY_DISCONNECTED_AFTER",
    show_envvar=True,
    help="How long all Envoys of a cloud may be away before its status says so.",
)
@log_level_option
def serve(
    registry: str,
    xds_listen: tuple[str, int],
    admin_listen: tuple[str, int],
    health_listen: tuple[str, int] | None,
    metrics_listen: tuple[str, int] | None,
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
    status_namespace: str | None,
    replica: str | None,
    disconnected_after: int,
    log_level: str,
) -> None:
    """Run a control plane for the Envoys of all sites.

    It serves clusters, routes, listeners and filters, once it has read the registry. On SIGTERM it
    drains its Envoys to other control planes (--drain-seconds), then ends; on SIGINT, or a second
    SIGTERM, it ends at once.

    With --tls-…, an Envoy gets only what belongs to the cloud in its certificate; renewed files are
    reloaded without a restart. Without TLS, node identity is not verified, and the server listens
    on loopback only (but see --insecure-xds).
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
        health_listen=health_listen,
        metrics_listen=metrics_listen,
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
        status_namespace=status_namespace,
        replica=replica or "",
        disconnected_after=disconnected_after,
        log_level=log_level,
    )
    run(settings)
