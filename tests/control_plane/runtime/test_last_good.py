import asyncio
import errno
import os
import tempfile
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from functools import partial
from pathlib import Path

import pytest

from counted_clouds import Counted, Freed
from memory_registry import MemoryRegistry
from registry_model import a_cloud, keeping
from scopeway.control_plane.catalog.catalog import Catalog
from scopeway.control_plane.clouds.inventory import Inventory, free_inventory
from scopeway.control_plane.registry import Batch, RegistryUnavailable
from scopeway.control_plane.runtime import last_good, last_good_file
from scopeway.control_plane.runtime.last_good import LastGoodRegistry
from scopeway.control_plane.runtime.last_good_file import LastGoodFile
from scopeway.control_plane.runtime.time_slices import in_slices

pytestmark = pytest.mark.asyncio


class AwayAtFirst(MemoryRegistry):
    """A registry that cannot be read three times, and then when it is told to come back."""

    def __init__(self, *names: str, reasons: Sequence[str] = ("is away",) * 3) -> None:
        super().__init__(*map(a_cloud, names))
        self.reasons = reasons
        self.back = asyncio.Event()
        self.attempts = 0

    async def watch(self) -> AsyncGenerator[Batch, None]:
        self.attempts += 1
        if self.attempts <= 3:
            raise RegistryUnavailable(f"memory {self.reasons[self.attempts - 1]}")
        await self.back.wait()
        async for batch in super().watch():
            yield batch


def save(folder: Path, *names: str) -> None:
    inventory = Inventory().apply({name: a_cloud(name) for name in names})
    last_good_file.save(folder, inventory, "memory")


def names(folder: Path) -> set[str | None]:
    """Return the names of the saved clouds; none where nothing is saved."""
    saved = last_good_file.load(folder)
    return set() if saved is None else {entry.name for entry in saved.entries.values()}


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - a file or a counter of another thread
            await asyncio.sleep(0.01)


async def test_the_last_clouds_are_saved_when_the_watch_ends(tmp_path: Path) -> None:
    inner = MemoryRegistry(a_cloud("a"), a_cloud("b"))
    async with keeping(inner, tmp_path / "state") as reader:
        inner.put(a_cloud("c"))
        inner.delete("a")
        await reader.until(lambda: reader.names == {"b", "c"})
    saved = last_good_file.load(tmp_path / "state")

    assert saved is not None
    assert list(saved.entries.values()) == [a_cloud("b"), a_cloud("c")]


async def test_the_first_listing_is_saved_at_once(tmp_path: Path) -> None:
    """A control plane that is killed as soon as it serves has something to start with."""
    async with keeping(MemoryRegistry(a_cloud("a")), tmp_path, debounce=1000):
        assert names(tmp_path) == {"a"}


async def test_a_changed_cloud_is_saved_after_the_debounce(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All changes within the debounce are saved by one write."""
    inner = MemoryRegistry()
    saved: list[int] = []
    save_file = last_good_file.LastGoodFile.save

    def save(file: last_good_file.LastGoodFile, inventory: Inventory) -> None:
        saved.append(len(inventory))
        save_file(file, inventory)

    monkeypatch.setattr(last_good_file.LastGoodFile, "save", save)
    async with keeping(inner, tmp_path, debounce=1000) as reader:
        for number in range(5):
            inner.put(a_cloud(f"cloud-{number}"))
        await reader.until(lambda: len(reader.names) == 5)
        assert saved == [0]

    assert saved == [0, 5]


async def test_the_clouds_of_a_registry_that_returns_are_saved_at_once(tmp_path: Path) -> None:
    save(tmp_path, "a", "b")
    inner = AwayAtFirst("b", "c")
    async with keeping(inner, tmp_path, retry=0, debounce=1000) as reader:
        assert names(tmp_path) == {"a", "b"}
        inner.back.set()
        await reader.until(lambda: reader.names == {"b", "c"})
        assert names(tmp_path) == {"b", "c"}


async def test_a_hanging_disk_does_not_delay_the_listing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs, go_on = threading.Event(), threading.Event()

    def fsync(_: int) -> None:
        hangs.set()
        go_on.wait()

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(last_good, "FIRST", 0.01)
    async with keeping(MemoryRegistry(a_cloud("a")), tmp_path) as reader:
        assert reader.names == {"a"}
        assert hangs.is_set()
        go_on.set()


async def test_a_failed_save_is_logged_and_retried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then, the earlier file is not marked as current."""
    inner = MemoryRegistry(a_cloud("a"))
    monkeypatch.setattr(last_good, "RETRY_SAVE", 0)
    monkeypatch.setattr(last_good, "IDLE", 0)
    attempts = 0

    def fail(**_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise OSError(errno.ENOSPC, "No space left on device")

    async with keeping(inner, tmp_path, debounce=0) as reader:
        with monkeypatch.context() as full:
            full.setattr(tempfile, "mkstemp", fail)
            inner.put(a_cloud("b"))
            await eventually(lambda: attempts >= 3)
            os.utime(tmp_path / "clouds.jsonl", (1, 1))
            seen = attempts
            await eventually(lambda: attempts >= seen + 3)
            assert (tmp_path / "clouds.jsonl").stat().st_mtime == 1
            assert names(tmp_path) == {"a"}
        await eventually(lambda: names(tmp_path) == {"a", "b"})
        assert reader.names == {"a", "b"}
    told = [record.getMessage() for record in caplog.records]

    assert [each for each in told if "No space left" in each] == [
        "the clouds cannot be saved, so a restart without the registry would serve older ones or "
        f"none: {tmp_path}: No space left on device"
    ]
    assert told[-1] == "the clouds are saved again"


async def test_a_deleted_file_is_saved_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_good, "IDLE", 0)
    async with keeping(MemoryRegistry(a_cloud("a")), tmp_path, debounce=0):
        await asyncio.to_thread((tmp_path / "clouds.jsonl").unlink)
        await eventually((tmp_path / "clouds.jsonl").exists)

        assert names(tmp_path) == {"a"}


async def test_the_reason_why_the_registry_is_unreachable_is_kept_up_to_date(
    tmp_path: Path,
) -> None:
    save(tmp_path, "a")
    inner = AwayAtFirst("b", reasons=("cannot be reached", "cannot be reached", "denies access"))
    async with keeping(inner, tmp_path, retry=0) as reader:
        await reader.until(lambda: len(reader.batches) == 2)
        first, second = reader.batches
        inner.back.set()
        await reader.until(lambda: reader.names == {"b"})

    assert first.stale is not None
    assert first.stale.startswith("memory cannot be reached; serving what memory held at ")
    assert second.stale == first.stale.replace("cannot be reached", "denies access")
    assert second.current_until == first.current_until


async def test_changes_are_saved_while_the_registry_is_watched(tmp_path: Path) -> None:
    inner = MemoryRegistry(a_cloud("a"))
    async with keeping(inner, tmp_path, debounce=0):
        assert names(tmp_path) == {"a"}
        inner.put(a_cloud("b"))
        await eventually(lambda: names(tmp_path) != {"a"})

        assert names(tmp_path) == {"a", "b"}


async def test_the_former_clouds_of_a_batch_are_freed_in_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer frees in steps, too, if a batch arrives while it writes."""
    monkeypatch.setattr(last_good, "in_slices", partial(in_slices, seconds=0))
    save, writes, may_end = LastGoodFile.save, threading.Semaphore(0), threading.Semaphore(0)

    def slow(self: LastGoodFile, inventory: Inventory) -> None:
        save(LastGoodFile(tmp_path, "memory"), inventory)  # another keeps no line of it
        writes.release()
        may_end.acquire(timeout=30)

    monkeypatch.setattr(LastGoodFile, "save", slow)
    found, freed = [0], Freed()

    async def look() -> None:
        while sum(found) < 500:
            found.append(freed.take())
            await asyncio.sleep(0)

    def batch(label: str) -> Batch:
        clouds = (Counted(name=f"c-{n}", labels={"own": f"{label}{n}"}) for n in range(500))
        return Batch(upserts={each.name: each for each in clouds})

    inner = MemoryRegistry()
    catalog = Catalog()
    registry = LastGoodRegistry(inner, tmp_path, lambda: catalog.inventory, debounce=0)

    async def take_over(batches: AsyncGenerator[Batch, None]) -> None:
        before = [catalog.inventory]
        change = catalog.apply(await anext(batches), now=0)
        await in_slices(free_inventory(before, change.clouds), seconds=0)
        await registry.save(changed=True)

    async with aclosing(registry.watch()) as batches:
        may_end.release()
        await take_over(batches)
        await asyncio.to_thread(writes.acquire)  # of nothing
        watching = asyncio.create_task(look())
        inner.tell(batch("a"))
        await take_over(batches)
        await asyncio.to_thread(writes.acquire)  # it is being written when the second comes
        for each in (Batch(), batch("b")):
            inner.tell(each)
            await take_over(batches)
        assert sum(found) == 0
        may_end.release(10)
        async with asyncio.timeout(30):
            await watching

    assert max(found) <= 64


async def test_saved_clouds_are_served_as_stale_while_the_registry_is_unreachable(
    tmp_path: Path,
) -> None:
    save(tmp_path, "a", "b")
    inner = AwayAtFirst("b", "c")
    os.utime(tmp_path / "clouds.jsonl", (0, 86_400))
    async with keeping(inner, tmp_path, retry=0) as reader:
        assert reader.names == {"a", "b"}
        assert reader.batches[0].complete
        assert reader.batches[0].stale == (
            "memory is away; serving what memory held at 1970-01-02 00:00:00 UTC"
        )
        inner.back.set()
        await reader.until(lambda: reader.names == {"b", "c"})

        assert [batch.stale is None for batch in reader.batches] == [False, True]


async def test_an_unreachable_registry_without_saved_clouds_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="memory is away"):
        async with keeping(AwayAtFirst(), tmp_path):
            pass

    assert last_good_file.load(tmp_path) is None


async def test_a_damaged_file_is_reported_and_ignored_when_the_registry_is_reachable(
    tmp_path: Path,
) -> None:
    (tmp_path / "clouds.jsonl").write_text("x")
    with pytest.raises(RegistryUnavailable, match=r"memory is away; nor can .* saved clouds"):
        async with keeping(AwayAtFirst(), tmp_path):
            pass
    async with keeping(MemoryRegistry(a_cloud("a")), tmp_path) as reader:
        assert reader.names == {"a"}
    (kept,) = set(os.listdir(tmp_path)) - {"clouds.jsonl"}

    assert kept.startswith("clouds.jsonl.unusable-")
    assert (tmp_path / kept).read_text() == "x"
    assert names(tmp_path) == {"a"}


async def test_a_damaged_file_that_cannot_be_moved_yet_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For example, in a folder that is read-only for a while."""
    (tmp_path / "clouds.jsonl").write_text("x")
    monkeypatch.setattr(last_good, "RETRY_SAVE", 0)
    attempts = 0

    def fail(*_: object) -> None:
        nonlocal attempts
        attempts += 1
        raise OSError(errno.EROFS, "Read-only file system")

    async with AsyncExitStack() as stack:
        with monkeypatch.context() as read_only:
            read_only.setattr(Path, "rename", fail)
            inner = MemoryRegistry(a_cloud("a"))
            await stack.enter_async_context(keeping(inner, tmp_path, debounce=0))
            await eventually(lambda: attempts >= 3)
            assert (tmp_path / "clouds.jsonl").read_text() == "x"
    (kept,) = set(os.listdir(tmp_path)) - {"clouds.jsonl"}

    assert (tmp_path / kept).read_text() == "x"
    assert names(tmp_path) == {"a"}


async def test_a_cloud_lost_in_a_mass_loss_is_saved(tmp_path: Path) -> None:
    inner = MemoryRegistry(*(a_cloud(f"cloud-{number}") for number in range(12)))
    async with keeping(inner, tmp_path) as reader:
        inner.delete(*(f"cloud-{number}" for number in range(8)))
        await reader.until(lambda: len(reader.batches) == 2)
    saved = last_good_file.load(tmp_path)

    assert saved is not None
    assert len(saved.entries) == 12


async def test_a_state_directory_that_cannot_be_created_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryUnavailable, match=r"the state directory .*/file/state cannot be"):
        async with keeping(MemoryRegistry(), tmp_path / "file" / "state"):
            pass


async def test_a_mass_loss_after_an_outage_is_held_and_saved_until_it_is_released(
    tmp_path: Path,
) -> None:
    names = [f"cloud-{number}" for number in range(12)]
    save(tmp_path, *names)
    inner = AwayAtFirst(*names[:3])
    async with keeping(inner, tmp_path, retry=0, debounce=0) as reader:
        inner.back.set()
        await reader.until(lambda: len(reader.batches) == 2)
        assert reader.names == set(names)
        reader.catalog.release(["cloud-11"])
        await reader.registry.save(changed=True)
    saved = last_good_file.load(tmp_path)

    assert saved is not None
    assert [entry.name for entry in saved.entries.values()] == sorted(set(names) - {"cloud-11"})


async def test_saved_clouds_that_are_served_are_not_saved_again(tmp_path: Path) -> None:
    """Their file has the time until which the registry confirmed them."""
    save(tmp_path, "a")
    os.utime(tmp_path / "clouds.jsonl", (1, 1))
    async with keeping(AwayAtFirst(), tmp_path, retry=0) as reader:
        await reader.registry.save(changed=True)
        assert reader.names == {"a"}

    assert (tmp_path / "clouds.jsonl").stat().st_mtime == 1


async def test_the_age_of_served_saved_clouds_is_that_of_the_file(tmp_path: Path) -> None:
    save(tmp_path, "a")
    saved = (tmp_path / "clouds.jsonl").stat().st_mtime
    async with keeping(AwayAtFirst(), tmp_path, retry=0) as reader:
        assert reader.batches[0].current_until == saved
