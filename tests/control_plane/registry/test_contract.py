"""The behaviour that all registries share, alone and behind saved state.

tests/kubernetes/test_registry_contract.py has the same tests with a real API server.
"""

import asyncio
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from memory_registry import MemoryRegistry
from registry_contract import Clouds, Cordons, RegistryContract, Site, entries, read
from registry_model import Etcd, Forwarder, a_cloud, written
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.registry import Batch, Registry, open_registry, open_store
from scopeway.control_plane.registry.directory import folder_scanner

pytestmark = pytest.mark.asyncio

__all__ = ["read"]  # the fixture


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


class TestEveryRegistry(RegistryContract):
    """See `registry_contract`."""
