"""`scopeway demo`: real clouds, real Envoys and this control plane on loopback."""

import click


@click.command()
@click.option("--up", "action", flag_value="up", help="Bring the clouds up and leave them running.")
@click.option("--down", "action", flag_value="down", help="End what --up left running.")
@click.option("--keep", is_flag=True, help="Keep the folder with configurations and logs.")
@click.option(
    "--openstack-python",
    type=click.Path(exists=True),
    metavar="PATH",
    help="The environment (or its Python) with Keystone, Glance and the openstack command; "
    ".venv-openstack is found without it.",
)
@click.option("--plain", is_flag=True, help="No colours and nothing that moves.")
def demo(action: str | None, keep: bool, openstack_python: str | None, plain: bool) -> None:
    """Show one scoped request with three small clouds of real OpenStack services."""
    from control_plane.demo import run

    if action == "up":
        run.up(openstack_python=openstack_python, plain=plain)
    elif action == "down":
        run.down(plain=plain)
    else:
        run.run_demo(keep=keep, openstack_python=openstack_python, plain=plain)
