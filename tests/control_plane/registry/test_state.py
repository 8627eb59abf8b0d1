import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from pathlib import Path

import pytest
from counted import Counted, Freed
from registry_model import a_cloud, reading

from control_plane.clouds.inventory import Inventory
from control_plane.registry import Batch, RegistryUnavailable, state, state_file
from control_plane.registry.memory import MemoryRegistry
from control_plane.registry.state import StateRegistry
from control_plane.slices import in_slices

pytestmark = pytest.mark.asyncio


class AwayAtFirst(MemoryRegistry):
    """A registry that cannot be read three times, and then when it is told to come back."""

    def __init__(self, *names: str) -> None:
        super().__init__(*map(a_cloud, names))
        self.back = asyncio.Event()
        self.attempts = 0

    async def watch(self) -> AsyncGenerator[Batch, None]:
        self.attempts += 1
        if self.attempts <= 3:
            raise RegistryUnavailable("memory is away")
        await self.back.wait()
        async for batch in super().watch():
            yield batch


def save(folder: Path, *names: str) -> None:
    inventory = Inventory().apply({name: a_cloud(name) for name in names})
    state_file.save(folder, inventory, "memory")


async def test_the_last_clouds_are_saved_at_the_end(tmp_path: Path) -> None:
    inner = MemoryRegistry(a_cloud("a"), a_cloud("b"))
    async with reading(StateRegistry(inner, tmp_path / "state")) as reader:
        inner.put(a_cloud("c"))
        inner.delete("a")
        await reader.until(lambda: reader.names == {"b", "c"})
    saved = state_file.load(tmp_path / "state")

    assert saved is not None
    assert list(saved.entries.values()) == [a_cloud("b"), a_cloud("c")]


async def test_changes_are_saved_meanwhile(tmp_path: Path) -> None:
    inner = MemoryRegistry(a_cloud("a"))
    async with reading(StateRegistry(inner, tmp_path, debounce=0)):
        inner.put(a_cloud("b"))
        async with asyncio.timeout(30):
            while True:
                saved = state_file.load(tmp_path)
                if saved is not None and len(saved.entries) == 2:
                    break
                await asyncio.sleep(0.01)


async def test_the_clouds_of_before_a_batch_are_freed_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by the writer, which has those of before when a batch comes while it writes."""
    monkeypatch.setattr(state, "in_slices", partial(in_slices, seconds=0))
    save, writes, may_end = state_file.save, threading.Semaphore(0), threading.Semaphore(0)

    def slow(folder: Path, inventory: Inventory, registry: str) -> None:
        save(folder, inventory, registry)
        writes.release()
        may_end.acquire(timeout=30)

    monkeypatch.setattr(state_file, "save", slow)
    found, freed = [0], Freed()

    async def look() -> None:
        while sum(found) < 500:
            found.append(freed.take())
            await asyncio.sleep(0)

    def batch(label: str) -> Batch:
        clouds = (Counted(name=f"c-{n}", labels={"own": f"{label}{n}"}) for n in range(500))
        return Batch(upserts={each.name: each for each in clouds})

    inner = MemoryRegistry()
    registry = StateRegistry(inner, tmp_path, debounce=0)
    async with aclosing(registry.watch()) as batches:
        await anext(batches)
        await asyncio.to_thread(writes.acquire)  # of nothing
        may_end.release()
        watching = asyncio.create_task(look())
        inner.tell(batch("a"))
        await anext(batches)
        await asyncio.to_thread(writes.acquire)  # it is being written when the second comes
        for each in (Batch(), batch("b")):
            inner.tell(each)
            await anext(batches)
        assert sum(found) == 0
        may_end.release(10)
        async with asyncio.timeout(30):
            await watching

    assert max(found) <= 64


async def test_saved_clouds_are_served_and_marked_while_the_registry_is_away(
    tmp_path: Path,
) -> None:
    save(tmp_path, "a", "b")
    inner = AwayAtFirst("b", "c")
    now = (tmp_path / "clouds.jsonl").stat().st_mtime + 7_300
    registry = StateRegistry(inner, tmp_path, retry=0, clock=lambda: now)
    async with reading(registry) as reader:
        assert reader.names == {"a", "b"}
        assert reader.batches[0].complete
        assert reader.batches[0].stale == "memory is away; serving what memory held 2 hours ago"
        inner.back.set()
        await reader.until(lambda: reader.names == {"b", "c"})

        assert [batch.stale is None for batch in reader.batches] == [False, True]


async def test_a_registry_that_is_away_with_nothing_saved_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(RegistryUnavailable, match="memory is away"):
        async with reading(StateRegistry(AwayAtFirst(), tmp_path)):
            pass

    assert state_file.load(tmp_path) is None


async def test_a_damaged_file_is_told_and_is_no_hindrance_when_the_registry_is_there(
    tmp_path: Path,
) -> None:
    (tmp_path / "clouds.jsonl").write_text("x")
    with pytest.raises(RegistryUnavailable, match=r"memory is away; nor can .* saved clouds"):
        async with reading(StateRegistry(AwayAtFirst(), tmp_path)):
            pass
    async with reading(StateRegistry(MemoryRegistry(a_cloud("a")), tmp_path)) as reader:
        assert reader.names == {"a"}


async def test_a_cloud_lost_in_a_storm_is_saved_too(tmp_path: Path) -> None:
    inner = MemoryRegistry(*(a_cloud(f"cloud-{number}") for number in range(12)))
    registry = StateRegistry(inner, tmp_path)
    async with reading(registry) as reader:
        inner.delete(*(f"cloud-{number}" for number in range(8)))
        await reader.until(lambda: len(reader.batches) == 2)
    saved = state_file.load(tmp_path)

    assert saved is not None
    assert len(saved.entries) == 12


async def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    registry = StateRegistry(MemoryRegistry(), tmp_path / "file" / "state")

    with pytest.raises(RegistryUnavailable, match=r"the state directory .*/file/state cannot be"):
        async with reading(registry):
            pass


async def test_what_a_returned_registry_has_lost_is_held_and_saved_until_it_is_given_up(
    tmp_path: Path,
) -> None:
    names = [f"cloud-{number}" for number in range(12)]
    save(tmp_path, *names)
    inner = AwayAtFirst(*names[:3])
    registry = StateRegistry(inner, tmp_path, retry=0, debounce=0)
    async with reading(registry) as reader:
        inner.back.set()
        await reader.until(lambda: len(reader.batches) == 2)
        assert reader.names == set(names)
        registry.release(["cloud-11"])
    saved = state_file.load(tmp_path)

    assert saved is not None
    assert [entry.name for entry in saved.entries.values()] == sorted(set(names) - {"cloud-11"})


async def test_what_is_given_up_while_a_batch_is_taken_over_is_so_after_it(tmp_path: Path) -> None:
    names = [f"cloud-{number}" for number in range(12)]
    save(tmp_path, *names)
    inner = AwayAtFirst(*names[:3])
    registry = StateRegistry(inner, tmp_path, retry=0, debounce=0)
    async with reading(registry) as reader:
        inner.back.set()
        await reader.until(lambda: len(reader.batches) == 2)
        registry._applying = True
        registry.release(["cloud-11"])
        assert "cloud-11" in registry._catalog.held
        await registry._apply(Batch())
        assert "cloud-11" not in registry._catalog.held
    saved = state_file.load(tmp_path)

    assert saved is not None
    assert "cloud-11" not in {entry.name for entry in saved.entries.values()}


async def test_how_old_the_saved_clouds_are_is_told(tmp_path: Path) -> None:
    save(tmp_path, "a")
    saved = (tmp_path / "clouds.jsonl").stat().st_mtime
    async with reading(StateRegistry(AwayAtFirst(), tmp_path, retry=0)) as reader:
        assert reader.batches[0].current == saved
