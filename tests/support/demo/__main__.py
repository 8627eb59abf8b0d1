"""The command of the demo: real clouds, real Envoys and this control plane on loopback.

PYTHONPATH=tests/support .venv/bin/python -m demo --help
"""

import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NoReturn

import click

from demo.full import FULL
from demo.run import SMALL, down, run_demo, up
from harness.process import ProcessFailed
from scopeway.control_plane.errors import ControlPlaneError, sentence


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
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
    chosen = FULL if full else SMALL
    if action == "up":
        up(chosen, openstack_python=openstack_python, plain=plain)
    elif action == "down":
        down(chosen, plain=plain)
    else:
        run_demo(chosen, keep=keep, openstack_python=openstack_python, plain=plain)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; an error for people, or of the system, is one sentence and status 1.

    Args:
        arguments: What follows `python -m demo`; None: what this process was given.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a log may have letters that ASCII has not
            stream.reconfigure(errors="backslashreplace")
    try:
        demo.main(args=arguments, prog_name="python -m demo")
    except (ControlPlaneError, OSError) as error:
        _fail(sentence(error))
    except ProcessFailed as error:
        _fail(str(error))


def _fail(reason: str) -> NoReturn:
    click.echo(f"demo: {reason}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
