"""The command `scopeway`.

Owns what people type and read. In this room, and only here, functions import what they need when
they run. Without gRPC and the rest, `--help` and the small commands take 0.1 s instead of 0.9 s of
CPU time.
"""

import sys
from collections.abc import Callable, Sequence
from io import TextIOWrapper

import click

from scopeway.control_plane.cli.bootstrap import bootstrap
from scopeway.control_plane.cli.ca import ca
from scopeway.control_plane.cli.cloud import cloud
from scopeway.control_plane.cli.collect import collect
from scopeway.control_plane.cli.explain import explain
from scopeway.control_plane.cli.output import say
from scopeway.control_plane.cli.serve import serve
from scopeway.control_plane.cli.service_type import service_type
from scopeway.control_plane.cli.status import status
from scopeway.control_plane.errors import ControlPlaneError, sentence


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="scopeway")
def cli() -> None:
    """Route each request to the clouds that its scope names: OpenStack, or any HTTP service."""


cli.add_command(serve)
cli.add_command(bootstrap)
cli.add_command(collect)
cli.add_command(cloud)
cli.add_command(service_type)
cli.add_command(ca)
cli.add_command(explain)
cli.add_command(status)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line.

    Args:
        arguments: What follows the word `scopeway`; None: what this process was given.
    """
    run(cli, "scopeway", arguments)


def run(
    command: click.Command,
    program: str,
    arguments: Sequence[str] | None,
    *,
    translate: Callable[[str], str] = str,
) -> None:
    """Run a command. An expected error prints one sentence and exits with status 1.

    Args:
        command: The command with its subcommands.
        program: How people type it.
        arguments: What follows these words; None: what this process was given.
        translate: Makes the sentence that is printed.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a reason may be in letters that ASCII has not
            stream.reconfigure(errors="backslashreplace")
    try:
        command.main(args=arguments, prog_name=program)
    except (ControlPlaneError, OSError) as error:
        say(f"{program}: {translate(sentence(error))}", err=True)
        sys.exit(1)
