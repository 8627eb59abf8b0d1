"""A registry whose last good clouds are saved on disk: `--state-dir`.

Owns when they are saved, and when they are served: if the registry cannot be read at the start,
`watch` yields them as one stale batch, and tries the registry again for ever. Knows no kind of
registry. Invariant: nothing is written before the registry's first full listing.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing, suppress
from pathlib import Path

from scopeway.control_plane.clouds.inventory import Inventory, free_inventory
from scopeway.control_plane.registry.interface import (
    Batch,
    Entry,
    Place,
    Registry,
    RegistryUnavailable,
)
from scopeway.control_plane.runtime import last_good_file
from scopeway.control_plane.runtime.last_good_file import LastGood, LastGoodDamaged
from scopeway.control_plane.runtime.time_slices import in_slices
from scopeway.xds.steps import Steps

log = logging.getLogger(__name__)

PATIENCE_WITH_LAST_GOOD = 2.0
"""Seconds to wait for the registry at the start, where the saved clouds can be served instead."""
DEBOUNCE = 1.0
"""Seconds between a change and its writing; many changes are one writing. With the writing itself,
0.2 s for 10,000 clouds, a change is saved within 2 s."""
FIRST = 5.0
"""Seconds that the first listing waits until it is saved; a disk that hangs holds up no longer."""
IDLE = 30.0
"""Seconds between two notes that nothing has changed."""
RETRY_SAVE = 5.0
"""Seconds until what could not be saved is tried again."""
RETRY = 1.0
"""Seconds between two attempts to read a registry that is away, besides its own patience."""


class LastGoodRegistry:
    """Another registry, whose last good clouds are saved and served while it cannot be read."""

    def __init__(
        self,
        registry: Registry,
        folder: Path,
        inventory: Callable[[], Inventory],
        *,
        debounce: float = DEBOUNCE,
        retry: float = RETRY,
    ) -> None:
        """Remember a registry.

        Args:
            registry: The registry itself.
            folder: Of the file; is made.
            inventory: Returns the inventory that the batches of `watch` have led to.
            debounce: Seconds.
            retry: Seconds.
        """
        self._registry = registry
        self._folder = folder
        self._inventory = inventory
        self._debounce = debounce
        self._retry = retry
        self._writer: _Writer | None = None
        """Not None once the registry itself has been listed."""

    @property
    def name(self) -> str:
        """The name of the registry itself."""
        return self._registry.name

    async def watch(self) -> AsyncGenerator[Batch, None]:
        """See `Registry.watch`; without a listing the saved clouds come first."""
        await asyncio.to_thread(self._make_folder)
        saved: LastGood | None = None
        reason = ""
        while True:
            try:
                async with aclosing(self._own_batches()) as batches:
                    async for batch in batches:
                        yield batch
            except RegistryUnavailable as error:
                if saved is None:
                    saved = await self._saved(error)
                    yield _stale(error, saved, saved.entries)
                elif str(error) != reason:
                    yield _stale(error, saved)
                reason = str(error)
            await asyncio.sleep(self._retry)

    async def save(self, *, changed: bool) -> None:
        """Save the inventory, if it comes from the registry itself; call this after each batch.

        The first inventory is saved when this returns, or a disk that hangs has been waited for
        long enough; later ones are saved soon.

        Args:
            changed: Whether the inventory differs from the one before.
        """
        if self._writer is None:
            return
        if not self._writer.started:
            await self._writer.start()
        elif changed:
            self._writer.write_soon()

    async def close(self) -> None:
        """Close the registry itself."""
        await self._registry.close()

    def _make_folder(self) -> None:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            reason = f"the state directory {self._folder} cannot be used: {error.strerror}"
            raise RegistryUnavailable(reason) from None

    async def _saved(self, error: RegistryUnavailable) -> LastGood:
        """Return what was saved, to be served in place of what the registry holds."""
        try:
            saved = await asyncio.to_thread(last_good_file.load, self._folder)
        except LastGoodDamaged as damage:
            raise RegistryUnavailable(f"{error}; nor can what was saved: {damage}") from None
        if saved is None:
            raise error
        return saved

    async def _own_batches(self) -> AsyncGenerator[Batch, None]:
        """Yield the batches of the registry itself, whose inventory may be saved."""
        writer = _Writer(self._folder, self.name, self._debounce, self._inventory)
        async with aclosing(self._registry.watch()) as batches:
            try:
                async for batch in batches:
                    self._writer = writer
                    writer.current = batch.stale is None
                    yield batch
            finally:
                self._writer = None
                await writer.close()


class _Writer:
    """Writes the latest inventory in a thread: the first at once, later ones soon."""

    def __init__(
        self, folder: Path, registry: str, debounce: float, inventory: Callable[[], Inventory]
    ) -> None:
        self._folder = folder
        self._registry = registry
        self._debounce = debounce
        self._inventory = inventory
        self._file = last_good_file.LastGoodFile(folder, registry)
        self._unwritten = False
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._has_saved = False
        self._problem: str | None = None
        """Why the clouds could not be saved the last time."""
        self.current = False
        """The registry can be reached: no change is its answer, not our ignorance."""

    @property
    def started(self) -> bool:
        """Whether the first inventory has been handed over."""
        return self._task is not None

    async def start(self) -> None:
        """Write the first inventory; return when that has been done, or seems to take for ever."""
        self.write_soon()
        first = asyncio.Event()
        self._task = asyncio.create_task(self._run(first), name="state writer")
        await _unless_longer(first, FIRST)

    def write_soon(self) -> None:
        """Have the inventory written after the debounce, as it is then."""
        self._unwritten = True
        self._changed.set()

    async def close(self) -> None:
        """Write what isn't written yet, and end."""
        self._closing.set()
        self._changed.set()
        if self._task is not None:
            await self._task

    async def _run(self, first: asyncio.Event) -> None:
        await self._write()
        first.set()
        while not self._closing.is_set():
            await _unless_longer(self._changed, RETRY_SAVE if self._unwritten else IDLE)
            await _unless_longer(self._closing, self._debounce)
            await self._write()
        if self._unwritten:
            await self._write()

    async def _write(self) -> None:
        """Write what isn't written yet; if there is nothing, note that the file is current."""
        self._changed.clear()
        written, unwritten = [self._inventory()], self._unwritten
        self._unwritten = False
        try:
            if unwritten:
                await asyncio.to_thread(self._save, written)
            elif self.current and not await asyncio.to_thread(self._file.still_current):
                log.warning(
                    "%s/%s was removed, or another process writes it, too: it is saved again; "
                    "give each control plane a --state-dir of its own",
                    self._folder,
                    last_good_file.FILE,
                    extra={"registry": self._registry},
                )
                await asyncio.to_thread(self._save, written)
        except OSError as error:
            self._unwritten = True
            self._tell(f"{self._folder}: {error.strerror}")
        else:
            self._tell(None)
        await in_slices(self._let_go(written))

    def _let_go(self, held: list[Inventory]) -> Steps[None]:
        """Free an inventory that may be outdated by now, step by step."""
        if held[0] is self._inventory():
            return
        changed: list[str] = []
        for cloud in held[0]:
            if self._inventory().get(cloud.name) is not cloud:
                changed.append(cloud.name)
            yield
        yield from free_inventory(held, changed)

    def _save(self, written: list[Inventory]) -> None:
        # in a list: a thread of the pool lets go of its arguments only after others know its result
        if not self._has_saved:
            kept = last_good_file.set_aside(self._folder, written[0])
            if kept is not None:
                log.warning("%s; what was saved is kept as %s", *kept)
        self._file.save(written[0])
        self._has_saved = True

    def _tell(self, problem: str | None) -> None:
        """Log why the clouds cannot be saved, if that is news."""
        if problem is not None and problem != self._problem:
            log.error(
                "the clouds cannot be saved, so a restart without the registry would serve older "
                "ones or none: %s",
                problem,
                extra={"registry": self._registry},
            )
        elif problem is None and self._problem is not None:
            log.warning("the clouds are saved again", extra={"registry": self._registry})
        self._problem = problem


async def _unless_longer(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _stale(
    error: RegistryUnavailable, saved: LastGood, entries: Mapping[Place, Entry] | None = None
) -> Batch:
    """Return a batch that says what is served, and why; with `entries` it is a complete one."""
    when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(saved.current))
    return Batch(
        upserts=entries or {},
        complete=entries is not None,
        stale=f"{error}; serving what {saved.registry} held at {when}",
        current_until=saved.current,
    )
