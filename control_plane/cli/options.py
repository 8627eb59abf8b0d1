"""Options that several commands share, and the values they are read into."""

from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Address(click.ParamType[tuple[str, int]]):
    """`host:port` with a port of 0 to 65535; IPv6 addresses stand in brackets."""

    name = "host:port"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        """Return (host, port), the host without brackets."""
        if isinstance(value, tuple):
            return value
        host, colon, port = str(value).rpartition(":")
        if not colon or not host:
            self.fail(f"{value!r} is not host:port", param, ctx)
        if not port.isascii() or not port.isdigit() or int(port) > 65535:
            self.fail(f"{port!r} in {value!r} is not a port", param, ctx)
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
