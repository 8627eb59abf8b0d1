"""`scopeway demo`: real clouds, real Envoys and this control plane on loopback."""

from pathlib import Path

import click


@click.command()
@click.option("--up", "action", flag_value="up", help="Bring the clouds up and leave them running.")
@click.option("--down", "action", flag_value="down", help="End what --up left running.")
@click.option("--full", is_flag=True, help="Whole clouds, with Nova, on MariaDB and RabbitMQ.")
@click.option("--keep", is_flag=True, help="Keep the folder with databases and logs.")
@click.option(
    "--openstack-python",
    type=click.Path(exists=True, path_type=Path),
    metavar="PATH",
    help="The virtual environment with Keystone, Glance and the client.",
    show_default=".venv-openstack",
)
@click.option("--plain", is_flag=True, help="No colours and no moving text.")
def demo(
    action: str | None, full: bool, keep: bool, openstack_python: Path | None, plain: bool
) -> None:
    """Show scoped requests among three clouds of real services.

    Everything runs on loopback, in a temporary folder, and ends with the command; with --up it
    goes on until --down, in .scopeway of the working folder.
    """
    from scopeway.control_plane.demo.run import SMALL, down, run_demo, up

    chosen = SMALL
    if full:
        from scopeway.control_plane.demo.full import FULL

        chosen = FULL
    if action == "up":
        up(chosen, openstack_python=openstack_python, plain=plain)
    elif action == "down":
        down(chosen, plain=plain)
    else:
        run_demo(chosen, keep=keep, openstack_python=openstack_python, plain=plain)
