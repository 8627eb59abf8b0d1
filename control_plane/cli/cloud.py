"""`scopeway cloud`: register, show and delete clouds in a registry that can be written."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from scopeway.control_plane.cli.options import admin_option, format_option, registry_option
from scopeway.control_plane.cli.output import add_row, console, say, table
from scopeway.control_plane.errors import ControlPlaneError

if TYPE_CHECKING:
    from scopeway.control_plane.catalog.catalog import Change
    from scopeway.control_plane.clouds.inventory import Inventory
    from scopeway.control_plane.clouds.model import Cloud
    from scopeway.control_plane.registry import Store
    from scopeway.control_plane.registry.interface import Entry


@click.group()
def cloud() -> None:
    """Register, show and delete clouds.

    These commands write to etcd. To change a folder of manifests, edit its files.
    """


@cloud.command()
@registry_option
@click.option(
    "--ttl",
    type=click.IntRange(min=1),
    metavar="SECONDS",
    help="Remove the entry unless it is put again within this time (an etcd lease).",
)
@click.argument("files", nargs=-1, required=True, type=click.File("rb"))
def put(registry: str, ttl: int | None, files: Sequence[BinaryIO]) -> None:
    """Register the clouds of manifest FILES; "-" is standard input.

    Every document is checked before the first is written.
    """
    clouds = _read(files)

    async def work() -> None:
        async with _store(registry) as store:
            for value in clouds:
                await store.put(value, lease_ttl=ttl)
                click.echo(f"{value.name} registered")

    asyncio.run(work())


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
        found = _registered(registry)
        for problem in found.problems.values():
            say(f"refused: {problem}", err=True)
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

    Entries that are refused, and cordons, are reported on standard error.
    """
    from scopeway.control_plane.clouds.model import Cloud

    found = _registered(registry)
    for problem in found.problems.values():
        say(f"refused: {problem}", err=True)
    for name, reason in sorted(found.inventory.cordons.items()):
        registered = "" if found.inventory.get(name) else " (not registered)"
        say(f"{_cordoned(name, reason)}{registered}", err=True)
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
        async with _store(registry) as store:
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
        async with _store(registry) as store:
            await store.cordon(mark)
            with suppress(InvalidCloud):  # it is registered, though not well
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
        async with _store(registry) as store:
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
    from scopeway.control_plane.cli.admin_client import command

    if every == bool(names):
        raise click.UsageError("name clouds, or pass --all")
    wanted: dict[str, Any] = {"all": True} if every else {"clouds": list(names)}
    released: set[str] = set()
    for admin in admins:
        answer = command(admin, "/release", wanted)
        released.update(answer["released"])
        for name in answer["released"]:
            click.echo(f"{name} released by {admin}")
    missing = [name for name in names if name not in released]
    if missing:
        raise ControlPlaneError(f"not held: {', '.join(missing)}")


async def _stored(registry: str, name: str) -> "tuple[Cloud | None, str | None]":
    async with _store(registry) as store:
        return await store.get(name), await store.cordoned(name)


def _registered(registry: str) -> "Change":
    from scopeway.control_plane.catalog.loader import read_registry
    from scopeway.control_plane.registry import open_registry

    return asyncio.run(read_registry(open_registry(registry)))


def _cordoned(name: str, reason: str) -> str:
    return f"cordoned: {name}: {reason}" if reason else f"cordoned: {name}"


@asynccontextmanager
async def _store(registry: str) -> "AsyncIterator[Store]":
    from scopeway.control_plane.registry import open_store

    store = open_store(registry)
    try:
        yield store
    finally:
        await store.close()


def _read(files: Sequence[BinaryIO]) -> "list[Cloud]":
    """Return all clouds of some files, or everything that is wrong with them."""
    from scopeway.control_plane.clouds.cordon import Cordon
    from scopeway.control_plane.clouds.invalid import InvalidCloud
    from scopeway.control_plane.clouds.service_type import ServiceType

    clouds: dict[str, tuple[str, Cloud]] = {}
    problems = []
    for file in files:
        entries = _manifests(file)
        if not entries:
            problems.append(f"{file.name}: holds no manifest")
        for place, value in entries.items():
            if isinstance(value, InvalidCloud):
                problems.append(str(value))
            elif isinstance(value, Cordon):
                problems.append(f"{place}: a cordon is written by `scopeway cloud cordon`")
            elif isinstance(value, ServiceType):
                problems.append(f"{place}: a type is written by `scopeway service-type put`")
            elif value.name in clouds:
                first, _ = clouds[value.name]
                problems.append(f"{place}: {value.name} stands in {first} already")
            else:
                clouds[value.name] = place, value
    if problems:
        raise ControlPlaneError("\n".join(["nothing was written", *problems]))
    return [cloud for _, cloud in clouds.values()]


def _manifests(file: BinaryIO) -> "Mapping[str, Entry]":
    from scopeway.control_plane.registry.directory.files import read_manifests

    try:
        text = file.read().decode()
    except UnicodeDecodeError as error:
        raise ControlPlaneError(f"{file.name} is not UTF-8 at byte {error.start}") from None
    return read_manifests(text, file.name, {}).entries


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
