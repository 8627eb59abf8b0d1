"""`scopeway collect`: the collector beside a site's Envoy."""

from pathlib import Path

import click

from scopeway.control_plane.cli.options import (
    address,
    cloud_name,
    health_option,
    log_level_option,
    metrics_option,
)


def _user(text: str | int) -> int:
    """Read --envoy-user: a name or a uid."""
    import pwd

    if isinstance(text, int):
        return text
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return pwd.getpwnam(text).pw_uid
    except KeyError:
        raise click.BadParameter(f"no user {text!r} on this machine") from None


@click.command()
@click.argument("cloud", type=cloud_name)
@click.option(
    "--socket-dir",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    envvar="SCOPEWAY_SOCKET_DIR",
    show_envvar=True,
    metavar="FOLDER",
    help="The folder that `scopeway bootstrap --collector` names; it is made if it does not exist.",
)
@click.option(
    "--envoy-user",
    type=_user,
    metavar="USER",
    help="The user that Envoy runs as, by name or uid; default: the user of this process.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1024),
    default=128,
    show_default=True,
    help="How many clouds one request asks at a time.",
)
@click.option(
    "--cloud-seconds",
    type=click.FloatRange(0, 300, min_open=True),
    default=10.0,
    show_default=True,
    help="Seconds within which a cloud must answer a read.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(0, 300, min_open=True),
    default=30.0,
    show_default=True,
    help="Seconds that a read waits for all of its clouds. A client may set another time with the "
    "header X-Scope-Deadline.",
)
@click.option(
    "--cache-validations",
    type=click.FloatRange(0, 5, min_open=True),
    metavar="SECONDS",
    help="Keep the answers of this site's Keystone to validations of tokens by other clouds, at "
    "most 5 seconds. A revoked token may work there for that much longer. Needs an Envoy with "
    "`scopeway bootstrap --cache-validations`; default: no cache.",
)
@click.option(
    "--admin-listen",
    type=address,
    metavar="HOST:PORT",
    envvar="SCOPEWAY_COLLECTOR_ADMIN_LISTEN",
    show_envvar=True,
    help="Where /healthz, /readyz, /metrics and /status answer; default: nowhere.",
)
@health_option("SCOPEWAY_COLLECTOR_HEALTH_LISTEN")
@metrics_option("SCOPEWAY_COLLECTOR_METRICS_LISTEN")
@click.option(
    "--insecure-admin",
    is_flag=True,
    help="Allow --admin-listen beyond loopback, without TLS and login.",
)
@log_level_option
def collect(
    cloud: str,
    socket_dir: Path,
    envoy_user: int | None,
    concurrency: int,
    cloud_seconds: float,
    deadline: float,
    cache_validations: float | None,
    admin_listen: tuple[str, int] | None,
    health_listen: tuple[str, int] | None,
    metrics_listen: tuple[str, int] | None,
    insecure_admin: bool,
    log_level: str,
) -> None:
    """Answer requests for several clouds, beside CLOUD's Envoy.

    The collector serves scopes with `&` and `^`. It listens on FOLDER/collector.sock for that
    Envoy, and asks each cloud through the listener `collect` of the same Envoy,
    FOLDER/collect.sock. It keeps nothing on disk and reads no registry. Envoy and the peers decide
    who may ask whom, as for any request.

    \b
        scopeway bootstrap cloud-1 --collector /run/scopeway … > envoy.yaml
        envoy -c envoy.yaml
        scopeway collect cloud-1 --socket-dir /run/scopeway

    Envoy must run as the user of the collector, or as --envoy-user. On SIGTERM, requests under way
    have 5 seconds to end.
    """
    import os

    from scopeway.control_plane.collector.limits import Limits
    from scopeway.control_plane.runtime.collector import Listen, run_collector

    limits = Limits(at_once=concurrency, cloud_seconds=cloud_seconds, seconds=deadline)
    run_collector(
        cloud,
        socket_dir.absolute(),
        limits=limits,
        users=frozenset([os.getuid()] if envoy_user is None else [os.getuid(), envoy_user]),
        validation_seconds=cache_validations,
        listen=Listen(admin=admin_listen, health=health_listen, metrics=metrics_listen),
        insecure_admin=insecure_admin,
        log_level=log_level,
    )
