"""An etcd that was restored from a backup, set up anew, or replaced."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from registry_model import Etcd, Forwarder, Reader, a_cloud, proxied, reading
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.registry import open_registry, open_store
from scopeway.control_plane.registry.etcd import client as etcd_client
from scopeway.control_plane.registry.etcd.registry import EtcdRegistry
from scopeway.control_plane.registry.etcd.url import parse_etcd_url

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

MakeEtcd = Callable[..., Etcd]


def url(etcd: Etcd) -> str:
    return f"etcd://{etcd.endpoint}"


@asynccontextmanager
async def cut_off(etcd: Etcd) -> AsyncIterator[tuple[Reader, Forwarder]]:
    """Read an etcd on a line that is cut in the block until it is resumed."""
    line = await Forwarder.start(etcd.port)
    async with reading(open_registry(f"etcd://127.0.0.1:{line.port}")) as reader:
        await line.stop()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        yield reader, line
    await line.stop()


def holds(reader: Reader, *clouds: tuple[str, int]) -> bool:
    """Return whether a reader knows these clouds with these ports, surely, and no others."""
    known = {cloud.name: cloud for cloud in reader.inventory}
    expected = {name: a_cloud(name, port=port) for name, port in clouds}
    return reader.batches[-1].stale is None and known == expected


async def test_a_wiped_etcd_with_equal_revisions_and_other_contents_is_followed(
    make_etcd: MakeEtcd,
) -> None:
    """Wiped and filled again: each key has the revision that it had, the cluster its id."""
    etcd = make_etcd()
    store = open_store(url(etcd))
    await store.put(a_cloud("a", port=1))
    await store.cordon(Cordon(name="a", reason="old"))
    await store.put(a_cloud("b", port=1))
    async with cut_off(etcd) as (reader, line):
        await asyncio.to_thread(etcd.wipe)
        await store.put(a_cloud("a", port=2))
        await store.cordon(Cordon(name="a", reason="new"))
        await store.put(a_cloud("c", port=2))
        await line.resume()
        await reader.until(lambda: holds(reader, ("a", 2), ("c", 2)))

        assert dict(reader.inventory.cordons) == {"a": "new"}


async def test_an_etcd_that_was_wiped_and_left_empty_is_followed(make_etcd: MakeEtcd) -> None:
    etcd = make_etcd()
    await open_store(url(etcd)).put(a_cloud("a"))
    await open_store(url(etcd)).cordon(Cordon(name="b"))
    async with cut_off(etcd) as (reader, line):
        await asyncio.to_thread(etcd.wipe)
        await line.resume()
        await reader.until(lambda: holds(reader))

        assert not reader.inventory.cordons


async def test_a_restored_backup_with_the_same_revision_is_followed(make_etcd: MakeEtcd) -> None:
    """Entries written after the backup are gone; only the contents show it."""
    etcd = make_etcd()
    store = open_store(url(etcd))
    await store.put(a_cloud("a", port=1))
    backup = await asyncio.to_thread(etcd.save)
    await store.put(a_cloud("lost", port=1))
    await store.cordon(Cordon(name="a"))
    async with cut_off(etcd) as (reader, line):
        await asyncio.to_thread(etcd.restore, backup)
        for port in (2, 3, 4):
            await store.put(a_cloud("a", port=port))
        await line.resume()
        await reader.until(lambda: holds(reader, ("a", 4)))

        assert not reader.inventory.cordons
        await store.put(a_cloud("b", port=5))
        await reader.until(lambda: holds(reader, ("a", 4), ("b", 5)))


async def test_a_restored_backup_with_a_lower_revision_is_logged(
    make_etcd: MakeEtcd, caplog: pytest.LogCaptureFixture
) -> None:
    etcd = make_etcd()
    store = open_store(url(etcd))
    await store.put(a_cloud("a", port=1))
    backup = await asyncio.to_thread(etcd.save)
    for name in "bcd":
        await store.put(a_cloud(name, port=1))
    async with cut_off(etcd) as (reader, line):
        with caplog.at_level(logging.WARNING):
            await asyncio.to_thread(etcd.restore, backup)
            await line.resume()
            await reader.until(lambda: holds(reader, ("a", 1)))

    (record,) = (each for each in caplog.records if "restored from a backup" in each.message)
    assert vars(record)["gone"] == 3


async def test_an_etcd_that_returns_is_current_only_after_its_contents_were_compared(
    make_etcd: MakeEtcd,
) -> None:
    """No batch says that etcd is back and leaves what it held before."""
    etcd = make_etcd()
    await open_store(url(etcd)).put(a_cloud("a", port=1))
    async with cut_off(etcd) as (reader, line):
        await asyncio.to_thread(etcd.wipe)
        await line.resume()
        await reader.until(lambda: reader.batches[-1].stale is None)

        assert holds(reader)


async def test_unchanged_entries_are_not_reported_after_a_reconnect(make_etcd: MakeEtcd) -> None:
    etcd = make_etcd()
    store = open_store(url(etcd))
    for name in "ab":
        await store.put(a_cloud(name))
    async with cut_off(etcd) as (reader, line):
        await asyncio.to_thread(etcd.wipe)
        for name in "ba":
            await store.put(a_cloud(name))
        await line.resume()
        await reader.until(lambda: reader.batches[-1].stale is None)
        await store.put(a_cloud("b"))  # a heartbeat
        await store.put(a_cloud("c"))
        await reader.until(lambda: "c" in reader.names)
        told = [at for batch in reader.batches[1:] for at in (*batch.upserts, *batch.deletes)]

        assert told == ["/scopeway/clouds/c"]


async def test_a_mass_loss_after_a_reconnect_is_held(make_etcd: MakeEtcd) -> None:
    etcd = make_etcd()
    store = open_store(url(etcd))
    for number in range(12):
        await store.put(a_cloud(f"cloud-{number}"))
    async with cut_off(etcd) as (reader, line):
        await asyncio.to_thread(etcd.wipe)
        await store.put(a_cloud("cloud-0", port=2))
        await line.resume()
        await reader.until(lambda: reader.inventory.get("cloud-0") == a_cloud("cloud-0", port=2))

        assert len(reader.names) == 12
        assert len(reader.catalog.held) == 11
        assert len(reader.problems) == 11


async def test_an_etcd_replaced_behind_a_proxy_is_followed(make_etcd: MakeEtcd) -> None:
    """The connection never breaks and the watch stays silent: its revisions are lower."""
    etcd = make_etcd()
    store = open_store(url(etcd))
    for name in "abcdefgh":
        await store.put(a_cloud(name, port=1))
    with proxied(etcd) as endpoint:
        through = parse_etcd_url(f"etcd://{endpoint}")
        registry = EtcdRegistry(through, patience=30, relist_interval=0.2)
        async with reading(registry) as reader:
            await reader.until(lambda: len(reader.names) == 8)
            await asyncio.to_thread(etcd.wipe)
            await store.put(a_cloud("a", port=2))
            await reader.until(lambda: holds(reader, ("a", 2)))

            assert reader.batches[-1].stale is None


async def test_every_read_of_etcd_is_linearizable_and_needs_a_leader(
    make_etcd: MakeEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member that lags behind, or is isolated, must ask the majority or not answer."""
    seen = []
    call = etcd_client._call

    async def noted(method: Any, request: Any, metadata: Any, seconds: float) -> Any:
        seen.append((type(request).__name__, request.serializable, metadata))
        return await call(method, request, metadata, seconds)

    etcd = make_etcd()
    monkeypatch.setattr(etcd_client, "_call", noted)
    async with reading(open_registry(url(etcd))):
        pass

    assert len(seen) >= 2
    assert set(seen) == {("RangeRequest", False, (("hasleader", "true"),))}
