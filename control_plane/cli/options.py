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


def cloud_name(text: str) -> str:
    """Read the name of a cloud; it need not be registered yet."""
    from control_plane.clouds import fields

    problem = fields.name(text)
    if problem is not None:
        raise click.BadParameter(f"{text!r} {problem}")
    return text


def _trust_domain(text: str) -> str:
    from control_plane.identity import trust_domain_problem

    problem = trust_domain_problem(text)
    if problem is not None:
        raise click.BadParameter(f"{text!r} {problem}")
    return text


trust_domain_option: Decorator = click.option(
    "--trust-domain",
    type=_trust_domain,
    default="scopeway",
    show_default=True,
    envvar="SCOPEWAY_TRUST_DOMAIN",
    help="The SPIFFE trust domain of the fleet: sites are spiffe://DOMAIN/cloud/NAME.",
)

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
