"""What the commands that read and write registries share."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, BinaryIO

from scopeway.control_plane.cli.output import say
from scopeway.control_plane.errors import ControlPlaneError

if TYPE_CHECKING:
    from scopeway.control_plane.catalog.catalog import Change
    from scopeway.control_plane.registry import Store
    from scopeway.control_plane.registry.interface import Entry


def registered(registry: str) -> "Change":
    """Return what a registry holds; say on standard error what is wrong with it."""
    from scopeway.control_plane.catalog.loader import read_registry
    from scopeway.control_plane.registry import open_registry

    found = asyncio.run(read_registry(open_registry(registry)))
    for problem in found.problems.values():
        say(f"refused: {problem}", err=True)
    for word in found.new_undeclared:
        say(f"not served: {found.inventory.service_types.unknown(word)}", err=True)
    return found


@asynccontextmanager
async def open_for_writing(registry: str) -> "AsyncIterator[Store]":
    """Yield the store that a URL names, and close it."""
    from scopeway.control_plane.registry import open_store

    store = open_store(registry)
    try:
        yield store
    finally:
        await store.close()


def entries_of(files: Sequence[BinaryIO]) -> "Iterator[tuple[str, Entry | None]]":
    """Yield the documents of some files, each with its place; None for a file without any."""
    from scopeway.control_plane.registry.directory.files import read_manifests

    for file in files:
        try:
            text = file.read().decode()
        except UnicodeDecodeError as error:
            raise ControlPlaneError(f"{file.name} is not UTF-8 at byte {error.start}") from None
        entries = read_manifests(text, file.name, {}).entries
        yield from entries.items() if entries else [(file.name, None)]


def nothing_written(problems: Sequence[str]) -> ControlPlaneError:
    """Return the error of a command that has written nothing, because of these problems."""
    return ControlPlaneError("\n".join(["nothing was written", *problems]))
