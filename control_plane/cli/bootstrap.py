"""`scopeway bootstrap`: the configuration with which a site's Envoy starts."""

import re
import shlex
from pathlib import Path

import click

from scopeway.control_plane.cli.options import (
    address,
    cloud_name,
    three_files,
    tls_options,
    trust_domain_option,
)


def _control_plane(text: str | tuple[str, int]) -> tuple[str, int]:
    """Read --xds: host:port, where Envoy can connect to."""
    host, port = address(text)
    if port == 0:
        raise click.BadParameter(f"{text!r} names no port")
    if host in ("0.0.0.0", "::"):
        raise click.BadParameter(f"{host!r} can be listened on but not connected to")
    return host, port


def _admin(text: str) -> tuple[str, str | int]:
    """Read --admin: `unix:PATH` or host:port."""
    if text.startswith("unix:"):
        if (path := text.removeprefix("unix:")) in ("", "@"):
            raise click.BadParameter(f"{text!r} names no socket: unix:PATH, or unix:@NAME")
        return "unix", path
    return address(text)


def _collector(text: str) -> str:
    """Read --collector: an absolute folder, short enough for the names of sockets in it."""
    from scopeway.control_plane.translator.collector_sockets import folder_problem

    folder = text if text in ("", "/") else text.rstrip("/")
    if folder and (problem := folder_problem(folder)) is not None:
        raise click.BadParameter(f"{text!r}: {problem}")
    return folder


_UNITS = {"MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([1-9][0-9]{0,5})(MiB|GiB)")
_LEAST_HEAP = 256 << 20


def _heap_size(text: str | int) -> int:
    """Read --max-heap-size: a number and MiB or GiB."""
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise click.BadParameter(f"{text!r} is no size; write it as 512MiB or 4GiB")
    size = int(found[1]) * _UNITS[found[2]]
    if size < _LEAST_HEAP:
        raise click.BadParameter(f"{text!r} is too little: an Envoy needs 256MiB or more")
    return size


@click.command()
@click.argument("cloud", type=cloud_name)
@click.option(
    "--xds",
    type=_control_plane,
    metavar="HOST:PORT",
    multiple=True,
    default=["127.0.0.1:18000"],
    show_default=True,
    envvar="SCOPEWAY_XDS",
    show_envvar=True,
    help="A control plane; may be given several times, Envoy connects to any that answers.",
)
@click.option(
    "--instance",
    default="envoy",
    show_default=True,
    help="This Envoy's name among those of its cloud; node.id becomes CLOUD/INSTANCE.",
)
@click.option(
    "--admin",
    type=_admin,
    metavar="unix:PATH|HOST:PORT",
    help="Where Envoy's own admin interface listens; default: unix:@scopeway/CLOUD/INSTANCE, a "
    "socket without a file (Linux), which no address leads to.",
)
@tls_options("The certificate of this site's Envoy, a file as that Envoy sees it.")
@trust_domain_option
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write envoy.yaml there, and with --tls-… the two files by which Envoy takes renewed "
    "certificates; default: print the bootstrap.",
)
@click.option(
    "--sds-dir",
    metavar="FOLDER",
    help="Where Envoy will find these two files; default: --output.",
)
@click.option(
    "--access-log",
    default="/dev/stdout",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The file that gets one line of JSON for each request.",
)
@click.option(
    "--max-heap-size",
    type=_heap_size,
    metavar="SIZE",
    default="2GiB",
    show_default=True,
    help="Memory that this Envoy may allocate, such as 512MiB or 4GiB. From half of it on, Envoy "
    "ends the requests that hold the most.",
)
@click.option(
    "--collector",
    type=_collector,
    default="",
    metavar="FOLDER",
    help="The absolute path of the folder that this Envoy shares with its collector (scopeway "
    "collect), for scopes with & or ^. Each Envoy needs a folder of its own.",
)
@click.option(
    "--cache-validations",
    is_flag=True,
    help="Let the collector answer other clouds that validate tokens of this site's Keystone. A "
    "revoked token may work there for up to 5 seconds longer. Needs --collector, and `scopeway "
    "collect --cache-validations`.",
)
def bootstrap(
    cloud: str,
    xds: tuple[tuple[str, int], ...],
    instance: str,
    admin: tuple[str, str | int] | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    trust_domain: str,
    output: Path | None,
    sds_dir: str | None,
    access_log: str,
    max_heap_size: int,
    collector: str,
    cache_validations: bool,
) -> None:
    """Print or write what CLOUD's Envoy starts with, as YAML.

    \b
        scopeway bootstrap cloud-1 > envoy.yaml              # a control plane on this machine
        envoy -c envoy.yaml

    \b
        scopeway bootstrap cloud-1 --xds 10.0.0.1:18000 --xds 10.0.0.2:18000 \\
            --tls-cert /etc/scopeway/tls/tls.crt --tls-key /etc/scopeway/tls/tls.key \\
            --tls-ca /etc/scopeway/tls/ca.crt --trust-domain edge.example --output /etc/scopeway
        envoy -c /etc/scopeway/envoy.yaml
    """
    from scopeway.control_plane.translator.bootstrap import Channel, admin_socket, render_bootstrap
    from scopeway.control_plane.translator.bootstrap import bootstrap as fill
    from scopeway.control_plane.translator.node_identity import SiteIdentity
    from scopeway.control_plane.translator.sds_files import sds_files

    if cache_validations and not collector:
        raise click.UsageError("--cache-validations needs a collector: --collector FOLDER")
    channel, files = None, {}
    if (tls := three_files(tls_cert, tls_key, tls_ca)) is not None:
        if output is None:
            raise click.UsageError("with --tls-… there are three files to write: --output FOLDER")
        certificate, key, authorities = (str(each.absolute()) for each in tls)
        identity = SiteIdentity(certificate=certificate, key=key, authorities=authorities)
        sds = sds_dir or str(output.absolute())
        channel = Channel(identity=identity, sds_folder=sds, trust_domain=trust_domain)
        files = dict(sds_files(identity))
    text = render_bootstrap(
        fill(
            cloud=cloud,
            instance=instance,
            xds=xds,
            admin=admin or admin_socket(cloud, instance),
            access_log=access_log,
            channel=channel,
            max_heap_size=max_heap_size,
            collector=collector,
            cache_validations=cache_validations,
        )
    )
    if output is None:
        click.echo(text, nl=False)
        return
    output.mkdir(parents=True, exist_ok=True)
    for name, content in {"envoy.yaml": text, **files}.items():
        (output / name).write_text(content, encoding="utf-8")
    click.echo(f"wrote {', '.join(['envoy.yaml', *files])} in {output}", err=True)
    if sds_dir and files:
        click.echo(f"bring {' and '.join(files)} to {sds_dir}", err=True)
    click.echo(f"next: envoy -c {shlex.quote(str(output / 'envoy.yaml'))}", err=True)
