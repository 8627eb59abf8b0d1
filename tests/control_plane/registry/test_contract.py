"""The behaviour that all registries share, alone and behind saved state."""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from memory_registry import MemoryRegistry
from registry_model import Etcd, Forwarder, Reader, a_cloud, keeping, reading, written
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Batch, Registry, open_registry, open_store
from scopeway.control_plane.registry.directory import folder_scanner

pytestmark = pytest.mark.asyncio

Clouds = Mapping[str, int]
"""Names to ports."""
Cordons = Mapping[str, str]


class Site(Protocol):
    """Where clouds stand, and what may happen to it."""

    async def open(self) -> Registry: ...

    async def hold(self, clouds: Clouds, cordons: Cordons) -> None:
        """Have it hold these and nothing else; in place, by changes."""

    async def spoil(self, name: str) -> None:
        """Write something bad in the place of a cloud."""

    async def go(self) -> None:
        """Be out of reach."""

    async def come_back(self, clouds: Clouds, cordons: Cordons) -> None:
        """Be in reach, set up anew with these."""

    async def close(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.registry = MemoryRegistry()
        self.held: dict[str, Cloud | Cordon] = {}

    async def open(self) -> Registry:
        return self.registry

    async def hold(self, clouds: Clouds, cordons: Cordons) -> None:
        new = entries(clouds, cordons)
        gone = self.held.keys() - new.keys()
        self.registry.tell(Batch(upserts=new, deletes=gone))
        self.held = new

    async def spoil(self, name: str) -> None:
        self.registry.put(InvalidCloud(name, Problem("", "is bad")), name)

    async def go(self) -> None:
        self.registry.tell(Batch(stale="memory is away", current_until=1.0))

    async def come_back(self, clouds: Clouds, cordons: Cordons) -> None:
        self.held = entries(clouds, cordons)
        self.registry.tell(Batch(upserts=self.held, complete=True))

    async def close(self) -> None: ...


class InFolder:
    """Each cloud in a file of its own, each cordon in another."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()

    async def open(self) -> Registry:
        return open_registry(f"dir:{self.folder}")

    async def hold(self, clouds: Clouds, cordons: Cordons) -> None:
        await asyncio.to_thread(self._write, clouds, cordons)

    async def spoil(self, name: str) -> None:
        await asyncio.to_thread((self.folder / f"{name}.yaml").write_text, "- bad")

    async def go(self) -> None:
        await asyncio.to_thread(self.folder.rename, self.folder.with_name("away"))

    async def come_back(self, clouds: Clouds, cordons: Cordons) -> None:
        away = self.folder.with_name("away")
        self.folder = away
        await asyncio.to_thread(shutil.rmtree, away)
        await asyncio.to_thread(away.mkdir)
        await self.hold(clouds, cordons)
        self.folder = away.with_name("clouds")
        await asyncio.to_thread(away.rename, self.folder)

    async def close(self) -> None: ...

    def _write(self, clouds: Clouds, cordons: Cordons) -> None:
        texts = {f"{name}.yaml": written(a_cloud(name, port=port)) for name, port in clouds.items()}
        for name, reason in cordons.items():
            document = cordon_document(Cordon(name=name, reason=reason))
            texts[f"{name}-cordon.yaml"] = json.dumps(document)
        for path in self.folder.iterdir():
            if path.name not in texts:
                path.unlink()
        for name, text in texts.items():
            (self.folder / name).write_text(text)


class InEtcd:
    """Its line is cut, and behind it the etcd set up anew: the same cluster by its id."""

    def __init__(self, etcd: Etcd) -> None:
        self.etcd = etcd
        self.store = open_store(f"etcd://{etcd.endpoint}")
        self.line: Forwarder | None = None

    async def open(self) -> Registry:
        self.line = await Forwarder.start(self.etcd.port)
        return open_registry(f"etcd://127.0.0.1:{self.line.port}")

    async def hold(self, clouds: Clouds, cordons: Cordons) -> None:
        for name, port in clouds.items():
            await self.store.put(a_cloud(name, port=port))
        for name, reason in cordons.items():
            await self.store.cordon(Cordon(name=name, reason=reason))
        for entry in (await self.store.list()).values():
            if isinstance(entry, Cordon) and entry.name not in cordons:
                await self.store.uncordon(entry.name)
            elif isinstance(entry, Cloud) and entry.name not in clouds:
                await self.store.delete(entry.name)

    async def spoil(self, name: str) -> None:
        await asyncio.to_thread(self.etcd.control, "put", f"/scopeway/clouds/{name}", "bad")

    async def go(self) -> None:
        assert self.line is not None
        await self.line.stop()

    async def come_back(self, clouds: Clouds, cordons: Cordons) -> None:
        assert self.line is not None
        await asyncio.to_thread(self.etcd.wipe)
        await self.hold(clouds, cordons)
        await self.line.resume()

    async def close(self) -> None:
        if self.line is not None:
            await self.line.stop()


def entries(clouds: Clouds, cordons: Cordons) -> dict[str, Cloud | Cordon]:
    return {
        **{name: a_cloud(name, port=port) for name, port in clouds.items()},
        **{f"{name}/cordon": Cordon(name=name, reason=why) for name, why in cordons.items()},
    }


KINDS = ["memory", "dir", pytest.param("etcd", marks=pytest.mark.etcd)]


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(folder_scanner, "GONE_AFTER", 0)
    if request.param == "memory":
        return InMemory()
    if request.param == "dir":
        return InFolder(tmp_path / "clouds")
    make_etcd: Callable[[], Etcd] = request.getfixturevalue("make_etcd")
    return InEtcd(make_etcd())


Reading = Callable[[Registry], AbstractAsyncContextManager[Reader]]


@pytest.fixture(params=["alone", "saved"])
def read(request: pytest.FixtureRequest, tmp_path: Path) -> Reading:
    """Read a registry, with or without its last good clouds being saved."""
    if request.param == "alone":
        return reading
    return lambda registry: keeping(registry, tmp_path / "state", debounce=0)


def holds(reader: Reader, clouds: Clouds, cordons: Cordons) -> bool:
    """Return whether a reader surely knows these and no others."""
    known = {cloud.name: cloud for cloud in reader.inventory}
    return (
        reader.batches[-1].stale is None
        and known == {name: a_cloud(name, port=port) for name, port in clouds.items()}
        and dict(reader.inventory.cordons) == dict(cordons)
    )


async def test_every_registry_reports_a_complete_listing_and_then_each_change(
    site: Site, read: Reading
) -> None:
    await site.hold({"a": 1, "b": 1}, {"b": "why"})
    async with read(await site.open()) as reader:
        assert reader.batches[0].complete
        await reader.until(lambda: holds(reader, {"a": 1, "b": 1}, {"b": "why"}))
        await site.hold({"a": 2, "c": 1}, {"c": ""})
        await reader.until(lambda: holds(reader, {"a": 2, "c": 1}, {"c": ""}))
    await site.close()


async def test_every_registry_follows_contents_that_changed_while_it_was_unreachable(
    site: Site, read: Reading
) -> None:
    """Even if the registry that returns looks like the one before."""
    await site.hold({"a": 1, "b": 1, "c": 1}, {"b": "old", "c": "old"})
    async with read(await site.open()) as reader:
        await reader.until(lambda: len(reader.names) == 3)
        await site.go()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert reader.names == {"a", "b", "c"}
        assert reader.batches[-1].current_until is not None
        await site.come_back({"a": 2, "b": 1, "d": 1}, {"b": "new", "d": "new"})
        await reader.until(
            lambda: holds(reader, {"a": 2, "b": 1, "d": 1}, {"b": "new", "d": "new"})
        )
    await site.close()


async def test_every_registry_holds_and_reports_a_mass_loss(site: Site, read: Reading) -> None:
    clouds = {f"cloud-{number}": 1 for number in range(12)}
    await site.hold(clouds, {"cloud-1": "why"})
    async with read(await site.open()) as reader:
        await reader.until(lambda: len(reader.names) == 12)
        await site.go()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        await site.come_back({"cloud-0": 2}, {})
        await reader.until(lambda: reader.inventory.get("cloud-0") == a_cloud("cloud-0", port=2))
        await reader.until(lambda: len(reader.catalog.held) == 11)

        assert reader.names == clouds.keys()
        assert reader.inventory.cordon_reason("cloud-1") == "why"
        assert any(
            "was lost together with many others" in each for each in reader.problems.values()
        )
    await site.close()


async def test_every_registry_keeps_the_last_good_version_of_a_bad_entry_over_an_outage(
    site: Site, read: Reading
) -> None:
    await site.hold({"a": 1, "b": 1}, {})
    async with read(await site.open()) as reader:
        await site.spoil("a")
        await reader.until(lambda: bool(reader.problems))
        assert reader.inventory.get("a") == a_cloud("a", port=1)
        await site.go()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert reader.inventory.get("a") == a_cloud("a", port=1)
        await site.come_back({"a": 2}, {})
        await reader.until(lambda: holds(reader, {"a": 2}, {}))

        assert not reader.problems
    await site.close()
