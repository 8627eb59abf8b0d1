"""`scopeway bootstrap`: the configuration with which a site's Envoy starts."""

import click

from control_plane.cli.options import address, cloud_name


def _admin(text: str | tuple[str, str | int]) -> tuple[str, str | int]:
    """Read --admin: `unix:PATH` or host:port."""
    if isinstance(text, tuple):  # a default that has been read already
        return text
    if text.startswith("unix:"):
        return "unix", text.removeprefix("unix:")
    return address(text)


@click.command()
@click.argument("cloud", type=cloud_name)
@click.option(
    "--xds",
    type=address,
    metavar="HOST:PORT",
    multiple=True,
    default=["127.0.0.1:18000"],
    show_default=True,
    envvar="SCOPEWAY_XDS",
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
    default="127.0.0.1:18001",
    show_default=True,
    metavar="unix:PATH|HOST:PORT",
    help="Where Envoy's own admin interface listens.",
)
@click.option(
    "--access-log",
    default="/dev/stdout",
    show_default=True,
    type=click.Path(dir_okay=False),
    help="The file that gets one line of JSON for each request.",
)
def bootstrap(
    cloud: str,
    xds: tuple[tuple[str, int], ...],
    instance: str,
    admin: tuple[str, str | int],
    access_log: str,
) -> None:
    r"""Print the Envoy bootstrap of CLOUD's sidecar as YAML.

    \b
        scopeway bootstrap cloud-1 --xds 10.0.0.1:18000 --xds 10.0.0.2:18000 > envoy.yaml
        envoy -c envoy.yaml
    """
    from control_plane.site.bootstrap import render_bootstrap

    click.echo(
        render_bootstrap(
            cloud=cloud, instance=instance, xds=xds, admin=admin, access_log=access_log
        ),
        nl=False,
    )
