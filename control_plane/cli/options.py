"""Options that several commands share, and the values they are read into."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def address(text: str | tuple[str, int]) -> tuple[str, int]:
    """Read host:port, the port 0 to 65535; return the host without the brackets of IPv6.

    Raises:
        click.BadParameter: it isn't that; names the part that is wrong.
    """
    if isinstance(text, tuple):  # a default that has been read already
        return text
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise click.BadParameter(f"{text!r} is not host:port")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise click.BadParameter(f"{port!r} in {text!r} is not a port")
    return host.removeprefix("[").removesuffix("]"), int(port)


registry_option: Decorator = click.option(
    "--registry",
    required=True,
    envvar="SCOPEWAY_REGISTRY",
    show_envvar=True,
    metavar="URL",
    help="Where clouds are registered: dir:FOLDER or "
    "etcd://[user:password@]host:port[,host:port]/[prefix][?cacert=FILE&cert=FILE&key=FILE].",
)

format_option: Decorator = click.option(
    "--format",
    "output",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="A table for people, JSON for programs.",
)
