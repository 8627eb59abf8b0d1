"""`scopeway cloud`: register, show and delete clouds in a registry that can be written."""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from scopeway.control_plane.cli.options import (
    admin_option,
    force_option,
    format_option,
    registry_option,
)
from scopeway.control_plane.cli.output import add_row, console, say, table
from scopeway.control_plane.cli.registry_access import (
    entries_of,
    nothing_written,
    open_for_writing,
    registered,
)
from scopeway.control_plane.errors import ControlPlaneError

if TYPE_CHECKING:
    from scopeway.control_plane.clouds.inventory import Inventory
    from scopeway.control_plane.clouds.model import Cloud
    from scopeway.control_plane.registry import Store


@click.group()
def cloud() -> None:
    """Register, show and delete clouds.

    These commands write to etcd, or to the objects of a Kubernetes cluster. To change a folder of
    manifests, edit its files.
    """


@cloud.command()
@registry_option
@click.option(
    "--ttl",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="Remove the entry unless it is put again within this time (an etcd lease). Not with "
    "kubernetes:.",
)
@force_option
@click.argument("files", nargs=-1, required=True, type=click.File("rb"))
def put(registry: str, ttl: int | None, force: bool, files: Sequence[BinaryIO]) -> None:
    """Register the clouds of manifest FILES; "-" is standard input.

    Every document is checked before the first is written, also for service types that are neither
    built in nor declared in the registry. The API server of kubernetes: checks all of them, too.
    """
    clouds = _read(files)

    async def work() -> None:
        async with open_for_writing(registry) as store:
            await _check(store, clouds, force=force)
            for value in clouds.values():
                await store.put(value, lease_ttl=ttl, force=force)
                click.echo(f"{value.name} registered")

    asyncio.run(work())


@cloud.command()
@registry_option
@force_option
@click.argument("files", nargs=-1, required=True, type=click.File("rb"))
def check(registry: str, force: bool, files: Sequence[BinaryIO]) -> None:
    """Check manifest FILES as `put` does, and write nothing.

    "-" is standard input. Exit status 1 if `put` would refuse one of them.
    """
    clouds = _read(files)

    async def work() -> None:
        async with open_for_writing(registry) as store:
            await _check(store, clouds, force=force)

    asyncio.run(work())
    for value in clouds.values():
        click.echo(f"{value.name} is accepted")


@cloud.command()
@registry_option
@format_option
@click.argument("name")
def get(registry: str, output: str, name: str) -> None:
    """Show the manifest of a cloud, as YAML or JSON. Exit status 1 if there is none.

    A cordon is reported on standard error.
    """
    from scopeway.control_plane.clouds.document import to_document

    if registry.startswith("dir:"):  # can be read all the same
        found = registered(registry)
        value, cordon = found.inventory.get(name), found.inventory.cordon_reason(name)
    else:
        value, cordon = asyncio.run(_stored(registry, name))
    if cordon is not None:
        say(_cordoned(name, cordon), err=True)
    if value is None:
        raise ControlPlaneError(f"no cloud is named {name}")
    _show(to_document(value), output)


@cloud.command("list")
@registry_option
@format_option
def list_clouds(registry: str, output: str) -> None:
    """List the clouds.

    Entries that are refused, service types that are not declared, and cordons are reported on
    standard error.
    """
    from scopeway.control_plane.clouds.model import Cloud

    found = registered(registry)
    for name, reason in sorted(found.inventory.cordons.items()):
        note = "" if found.inventory.get(name) else " (not registered)"
        say(f"{_cordoned(name, reason)}{note}", err=True)
    clouds: list[Cloud] = sorted(found.inventory, key=lambda one: one.name)
    if output == "json":
        from scopeway.control_plane.clouds.document import to_document

        click.echo(json.dumps([to_document(one) for one in clouds]))
        return
    _table(clouds, found.inventory)


@cloud.command()
@registry_option
@click.argument("names", nargs=-1, required=True)
def delete(registry: str, names: tuple[str, ...]) -> None:
    """Delete clouds. Exit status 1 if one of them is not registered."""

    async def work() -> list[str]:
        async with open_for_writing(registry) as store:
            missing = []
            for name in names:
                if await store.delete(name):
                    click.echo(f"{name} deleted")
                else:
                    missing.append(name)
            return missing

    missing = asyncio.run(work())
    if missing:
        raise ControlPlaneError(f"no cloud is named {', '.join(missing)}")


@cloud.command()
@registry_option
@click.option("--reason", default="", metavar="TEXT", help="For users: it is in their answers.")
@click.argument("name")
def cordon(registry: str, reason: str, name: str) -> None:
    """Keep others from using a cloud, until it is uncordoned.

    Plans skip it in "|" and labels, and a request that names it gets a 503 with the reason. Its own
    site can still use it. Registering it again does not lift the cordon.
    """
    from scopeway.control_plane.clouds.cordon import Cordon, cordon_document, parse_cordon
    from scopeway.control_plane.clouds.invalid import InvalidCloud
    from scopeway.control_plane.registry import RegistryUnavailable

    mark = Cordon(name=name, reason=reason)
    try:
        parse_cordon(cordon_document(mark), "cordon")
    except InvalidCloud as error:
        raise ControlPlaneError(str(error).removeprefix("cordon: ")) from None
    if registry.startswith("dir:"):
        document = json.dumps(cordon_document(mark), ensure_ascii=False)
        raise ControlPlaneError(
            f"{registry} is changed by editing its files; this document in one of them, after a "
            f"line of ---, cordons {name}:\n{document}"
        )

    async def work() -> bool:
        async with open_for_writing(registry) as store:
            await store.cordon(mark)
            # it is registered, though not well; or the user may not read it
            with suppress(InvalidCloud, RegistryUnavailable):
                return await store.get(name) is not None
            return True

    if not asyncio.run(work()):
        click.echo(f"warning: no cloud is named {name} yet", err=True)
    click.echo(f"{name} cordoned")


@cloud.command()
@registry_option
@click.argument("names", nargs=-1, required=True)
def uncordon(registry: str, names: tuple[str, ...]) -> None:
    """Let others use clouds again. Exit status 1 if one of them was not cordoned."""

    async def work() -> list[str]:
        async with open_for_writing(registry) as store:
            missing = []
            for name in names:
                if await store.uncordon(name):
                    click.echo(f"{name} uncordoned")
                else:
                    missing.append(name)
            return missing

    missing = asyncio.run(work())
    if missing:
        raise ControlPlaneError(f"not cordoned: {', '.join(missing)}")


@cloud.command()
@admin_option
@click.option("--all", "every", is_flag=True, help="All clouds that are held.")
@click.argument("names", nargs=-1)
def release(admins: tuple[str, ...], every: bool, names: tuple[str, ...]) -> None:
    """Release clouds that are held after a mass loss.

    Use it for clouds that were removed on purpose. Each control plane holds the clouds that it has
    lost, so name all of them with --admin; `scopeway status` shows what each holds. Exit status 1
    if none of them holds one of the names.
    """
    if every == bool(names):
        raise click.UsageError("name clouds, or pass --all")
    release_clouds({each: each for each in admins}, names)


def release_clouds(admins: Mapping[str, str], names: Sequence[str]) -> None:
    """Tell control planes to release clouds.

    Args:
        admins: The URL of each admin address, by its name for people.
        names: The clouds; empty: all that are held.

    Raises:
        ControlPlaneError: none of them holds one of the names, or one does not answer.
    """
    from scopeway.control_plane.cli.admin_client import command

    wanted: dict[str, Any] = {"clouds": list(names)} if names else {"all": True}
    released: set[str] = set()
    for admin, url in admins.items():
        answer = command(url, "/release", wanted)
        released.update(answer["released"])
        for name in answer["released"]:
            click.echo(f"{name} released by {admin}")
    missing = [name for name in names if name not in released]
    if missing:
        raise ControlPlaneError(f"not held: {', '.join(missing)}")


async def _stored(registry: str, name: str) -> "tuple[Cloud | None, str | None]":
    async with open_for_writing(registry) as store:
        return await store.get(name), await store.cordoned(name)


def _cordoned(name: str, reason: str) -> str:
    return f"cordoned: {name}: {reason}" if reason else f"cordoned: {name}"


def _read(files: Sequence[BinaryIO]) -> "dict[str, Cloud]":
    """Return all clouds of some files by place, or report all that is wrong with them."""
    from scopeway.control_plane.clouds.cordon import Cordon
    from scopeway.control_plane.clouds.invalid import InvalidCloud
    from scopeway.control_plane.clouds.service_type import ServiceType

    clouds: dict[str, Cloud] = {}
    places: dict[str, str] = {}
    problems = []
    for place, value in entries_of(files):
        if value is None:
            problems.append(f"{place}: holds no manifest")
        elif isinstance(value, InvalidCloud):
            problems.append(str(value))
        elif isinstance(value, Cordon):
            problems.append(f"{place}: is a cordon; use `scopeway cloud cordon`")
        elif isinstance(value, ServiceType):
            problems.append(f"{place}: is a service type; use `scopeway service-type put`")
        elif value.name in places:
            problems.append(f"{place}: {value.name} stands in {places[value.name]} already")
        else:
            places[value.name] = place
            clouds[place] = value
    if problems:
        raise nothing_written(problems)
    return clouds


async def _check(store: "Store", clouds: "dict[str, Cloud]", *, force: bool) -> None:
    """Refuse clouds that the registry would not store, or whose services would not be served."""
    await _check_service_types(store, clouds)
    if refusals := await store.refusals(list(clouds.values()), force=force):
        raise nothing_written(refusals)


async def _check_service_types(store: "Store", clouds: "dict[str, Cloud]") -> None:
    """Refuse clouds that name a service type which is neither built in nor declared."""
    from scopeway.control_plane.catalog.service_references import further_services
    from scopeway.control_plane.clouds.declared_types import declare
    from scopeway.control_plane.clouds.service_type import ServiceType
    from scopeway.control_plane.registry import RegistryUnavailable

    named = {place: words for place, each in clouds.items() if (words := further_services(each))}
    if not named:
        return
    try:
        entries = await store.service_types()
    except RegistryUnavailable as error:  # a site may have the right to write its own cloud only
        say(f"warning: service types are not checked: {error}", err=True)
        return
    declared, _ = declare(each for each in entries.values() if isinstance(each, ServiceType))
    types = declared.words
    problems = [
        f"{place}: {types.unknown(word)}"
        for place, words in named.items()
        for word in words
        if word not in types.types
    ]
    if problems:
        hint = "correct the name, or declare the type first: `scopeway service-type put`"
        raise nothing_written([*problems, hint])


def _show(document: dict[str, Any], output: str) -> None:
    if output == "json":
        click.echo(json.dumps(document))
        return
    import yaml

    yaml.safe_dump(document, sys.stdout, sort_keys=False)


def _table(clouds: "Sequence[Cloud]", inventory: "Inventory") -> None:
    from scopeway.control_plane.clouds.urls import front_url

    shown = table("cloud", "labels", "services", "front", "peer", "cordoned")
    for one in clouds:
        add_row(
            shown,
            one.name,
            ", ".join(f"{key}={value}" for key, value in sorted(one.labels.items())) or "-",
            ", ".join(sorted(one.services)) or "-",
            front_url(one.front) if one.front else "-",
            f"{one.peer.address}:{one.peer.port}" if one.peer else "-",
            "-" if (reason := inventory.cordon_reason(one.name)) is None else reason or "yes",
        )
    console().print(shown)
