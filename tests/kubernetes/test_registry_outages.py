"""The registry with a real API server that is ended, compacted, restored or replaced."""

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.kubernetes import ApiServer
from kubernetes_registry import (
    LineToApiServer,
    clear,
    client_of,
    compact,
    define,
    hold,
    holds,
    put_cloud,
    registry_of,
    when_served,
)
from registry_model import Reader, reading
from scopeway.control_plane.kubernetes_api import paths
from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.registry.kubernetes import registry as kubernetes

pytestmark = pytest.mark.asyncio

MakeApiServer = Callable[..., ApiServer]


@asynccontextmanager
async def cut_off(server: ApiServer, folder: Path) -> AsyncIterator[tuple[Reader, LineToApiServer]]:
    """Read an API server on a line that is cut in the block until it is resumed."""
    line = LineToApiServer(server, folder)
    async with reading(await line.open()) as reader:
        await line.cut()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        yield reader, line
    await line.cut()


@pytest.fixture
def server(definitions_only: ApiServer) -> ApiServer:
    clear(definitions_only)
    return definitions_only


async def test_an_ended_api_server_is_stale_with_the_reason_and_then_followed_without_flapping(
    make_api_server: MakeApiServer,
) -> None:
    server = make_api_server()
    await hold(server, {"a": 1, "b": 1}, {})
    async with reading(registry_of(server.kubeconfig)) as reader:
        await reader.until(lambda: holds(reader, a=1, b=1))
        await asyncio.to_thread(server.server.kill)
        await reader.until(lambda: reader.batches[-1].stale is not None)

        reason = reader.batches[-1].stale
        assert reason == (
            f"kubernetes:{server.kubeconfig}?context=tests ({server.url}) is away: "
            "connection refused"
        )
        assert reader.batches[-1].current_until is not None
        assert reader.names == {"a", "b"}
        await asyncio.to_thread(server.start_server)
        await reader.until(lambda: reader.batches[-1].stale is None)
        await when_served(server)
        await hold(server, {"a": 2}, {})
        await reader.until(lambda: holds(reader, a=2))
        stale = [batch.stale is not None for batch in reader.batches]

        assert stale.count(True) == stale.index(False, stale.index(True)) - stale.index(True)


async def test_an_api_server_without_its_etcd_is_followed_once_it_is_back(
    make_api_server: MakeApiServer,
) -> None:
    server = make_api_server()
    await hold(server, {"a": 1}, {})
    async with reading(registry_of(server.kubeconfig)) as reader:
        await asyncio.to_thread(server.etcd.kill)
        await asyncio.to_thread(server.start_etcd)
        await when_served(server)
        await hold(server, {"b": 2}, {})
        await reader.until(lambda: holds(reader, b=2))


async def test_an_api_server_that_hangs_is_noticed_by_the_probe(
    make_api_server: MakeApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scopeway.control_plane.registry.kubernetes.watches.PROBE_TIMEOUT", 0.5)
    server = make_api_server()
    async with reading(registry_of(server.kubeconfig, probe_interval=0.1)) as reader:
        server.server.pause()
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert "is away: no answer in time" in str(reader.batches[-1].stale)
        server.server.resume()
        await reader.until(lambda: reader.batches[-1].stale is None)


async def test_changes_that_were_compacted_away_are_followed(
    make_api_server: MakeApiServer, tmp_path: Path
) -> None:
    server = make_api_server()
    await hold(server, {"a": 1, "b": 1, "c": 1}, {})
    async with cut_off(server, tmp_path) as (reader, line):
        await asyncio.to_thread(server.server.kill)
        await asyncio.to_thread(server.start_server)  # without its cache of old events
        await when_served(server)
        await hold(server, {"a": 2, "b": 1}, {"a": "why"})
        await asyncio.to_thread(compact, server)
        await line.resume()
        await reader.until(lambda: holds(reader, a=2, b=1))

        assert dict(reader.inventory.cordons) == {"a": "why"}


async def test_a_watch_of_a_compacted_version_is_gone(server: ApiServer) -> None:
    """As an ERROR event after a good status, or as a bad status."""
    async with client_of(server) as client:
        await put_cloud(client, "a", 1)
        await asyncio.to_thread(compact, server)
        watch = client.watch(paths.EDGE_CLOUDS, "1")
        with pytest.raises(kubernetes.ApiError) as caught:
            [events async for events in watch]

    assert caught.value.is_gone
    assert "too old resource version" in str(caught.value)


async def test_a_list_whose_next_page_was_compacted_away_begins_anew(
    server: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first page is read, then the rest is gone."""
    await hold(server, {"a": 1, "b": 1}, {})
    registry = registry_of(server.kubeconfig)
    pages, compacted = ApiClient.raw_pages, []

    async def compacting(client: ApiClient, path: str, **_: int) -> Any:
        async for page in pages(client, path, page=1):
            yield page
            if not compacted:
                compacted.append(path)
                await hold(server, {"a": 2, "c": 2}, {})
                await asyncio.to_thread(compact, server)

    monkeypatch.setattr(ApiClient, "raw_pages", compacting)
    async with reading(registry) as reader:
        await reader.until(lambda: holds(reader, a=2, c=2))

        assert reader.batches[0].complete
        assert len(reader.batches[0].upserts) == 2


@pytest.mark.parametrize("later", [{}, {"d": 3, "e": 3, "f": 3, "g": 3, "h": 3, "i": 3}])
async def test_an_api_server_restored_from_a_backup_is_followed(
    make_api_server: MakeApiServer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    later: dict[str, int],
) -> None:
    """Its resource version is lower than before, or higher; a watch would be silent for ever."""
    server = make_api_server()
    await hold(server, {"a": 1, "b": 1}, {})
    await asyncio.to_thread(server.kill)
    await asyncio.to_thread(server.save, tmp_path / "backup")
    await asyncio.to_thread(server.start)
    await when_served(server)
    registry = registry_of(server.kubeconfig)
    async with reading(registry) as reader:
        await reader.until(lambda: holds(reader, a=1, b=1))
        await hold(server, {"a": 2, "c": 2}, {"a": "lost"})
        await reader.until(lambda: holds(reader, a=2, c=2))
        if not later:
            for port in range(3, 60):
                async with client_of(server) as client:
                    await put_cloud(client, "a", port)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.restore, tmp_path / "backup")
        with caplog.at_level(logging.WARNING):
            await asyncio.to_thread(server.start)
            await when_served(server)
            await hold(server, {"a": 1, "b": 1, **later}, {})
            await reader.until(lambda: holds(reader, a=1, b=1, **later))

        assert not reader.inventory.cordons
        if not later:
            assert any("restored from a backup" in each.message for each in caplog.records)
        await hold(server, {"z": 9}, {})
        await reader.until(lambda: holds(reader, z=9))


async def test_another_cluster_at_the_same_address_is_followed(
    make_api_server: MakeApiServer, tmp_path: Path
) -> None:
    server = make_api_server()
    await hold(server, {"a": 1, "b": 1}, {"a": "old"})
    async with cut_off(server, tmp_path) as (reader, line):
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(shutil.rmtree, server.data)
        await asyncio.to_thread(server.start)
        await asyncio.to_thread(define, server)
        await when_served(server)
        await hold(server, {"a": 2, "c": 2}, {})
        await line.resume()
        await reader.until(lambda: holds(reader, a=2, c=2))

        assert not reader.inventory.cordons
