"""`scopeway service-type`: list, declare and delete service types."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from scopeway.control_plane.cli.options import (
    force_option,
    format_option,
    optional_registry_option,
    registry_option,
)
from scopeway.control_plane.cli.output import add_row, console, table
from scopeway.control_plane.cli.registry_access import (
    entries_of,
    nothing_written,
    open_for_writing,
    registered,
)
from scopeway.control_plane.errors import ControlPlaneError

if TYPE_CHECKING:
    from scopeway.control_plane.clouds.service_type import ServiceType


@click.group("service-type")
def service_type() -> None:
    """List, declare and delete service types.

    A service type is a word for a service in scopes, paths and manifests. OpenStack's types are
    built in. To change those of a folder, edit its files.
    """


@service_type.command("list")
@optional_registry_option
@format_option
def list_types(registry: str | None, output: str) -> None:
    """List all valid words for services: types with their aliases.

    Entries that are refused are reported on standard error, and so are types that manifests name
    and that are not declared.
    """
    from scopeway.control_plane.clouds.declared_types import NO_TYPES

    declared = NO_TYPES if registry is None else registered(registry).inventory.declared
    words = declared.words
    rows: list[dict[str, Any]] = []
    for name in sorted(words.types):
        custom = declared.types.get(name)
        rows.append(
            {
                "name": name,
                "aliases": sorted(word for word, each in words.aliases.items() if each == name),
                "protocol": "openstack" if custom is None else custom.protocol,
                "origin": "built-in" if custom is None else "declared",
                "forward": [] if custom is None else list(custom.forward),
            }
        )
    if output == "json":
        click.echo(json.dumps(rows))
        return
    shown = table("type", "aliases", "protocol", "origin")
    for row in rows:
        aliases = ", ".join(row["aliases"]) or "-"
        add_row(shown, row["name"], aliases, row["protocol"], row["origin"])
    console().print(shown)


@service_type.command()
@registry_option
@force_option
@click.argument("files", nargs=-1, required=True, type=click.File("rb"))
def put(registry: str, force: bool, files: Sequence[BinaryIO]) -> None:
    """Declare the service types of FILES; "-" is standard input.

    Every document is checked before the first is written: alone, and for words that another type
    of the registry has.
    """
    types = _read(files)

    async def work() -> None:
        async with open_for_writing(registry) as store:
            _check_conflicts(types, (await store.service_types()).values())
            if refusals := await store.refusals(list(types.values()), force=force):
                raise nothing_written(refusals)
            for value in types.values():
                await store.put_service_type(value, force=force)
                click.echo(f"{value.name} declared")

    asyncio.run(work())


@service_type.command()
@registry_option
@click.argument("names", nargs=-1, required=True)
def delete(registry: str, names: tuple[str, ...]) -> None:
    """Delete declarations of service types. Exit status 1 if one of them does not exist.

    Clouds that have such a service stay. Requests for it are a 404 until it is declared again.
    """

    async def work() -> list[str]:
        async with open_for_writing(registry) as store:
            missing = []
            for name in names:
                if await store.delete_service_type(name):
                    click.echo(f"{name} deleted")
                else:
                    missing.append(name)
            return missing

    missing = asyncio.run(work())
    if missing:
        raise ControlPlaneError(f"not declared: {', '.join(missing)}")


def _read(files: Sequence[BinaryIO]) -> "dict[str, ServiceType]":
    """Return the service types of some files by name, or report all that is wrong with them."""
    from scopeway.control_plane.clouds.invalid import InvalidCloud
    from scopeway.control_plane.clouds.service_type import ServiceType

    types: dict[str, ServiceType] = {}
    problems = []
    for place, value in entries_of(files):
        if value is None:
            problems.append(f"{place}: holds no service type")
        elif isinstance(value, InvalidCloud):
            problems.append(str(value))
        elif not isinstance(value, ServiceType):
            problems.append(f"{place}: is not a service type; use `scopeway cloud`")
        elif value.name in types:
            problems.append(f"{place}: {value.name} is declared twice")
        else:
            types[value.name] = value
    if problems:
        raise nothing_written(problems)
    return types


def _check_conflicts(new: "dict[str, ServiceType]", registered: Iterable[object]) -> None:
    """Refuse types that would not count as they are beside those of the registry."""
    from scopeway.control_plane.clouds.declared_types import LEFT_OUT, declare
    from scopeway.control_plane.clouds.service_type import ServiceType

    before = {each.name: each for each in registered if isinstance(each, ServiceType)}
    _, known = declare(before.values())
    _, problems = declare({**before, **new}.values())
    found = [
        f"{name}: {str(problem).removesuffix(LEFT_OUT)}"
        for name, each in sorted(problems.items())
        for problem in each
        if name in new or problem not in known.get(name, ())
    ]
    if found:
        raise nothing_written(found)
