"""A real Envoy as the client: what it accepts and rejects, and its requests on reconnect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import pytest_asyncio
from envoy_data_plane.envoy.service.status.v3 import ClientStatusResponse, ConfigStatus

from harness.envoy import Envoy, xds_cluster
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.events import (
    Acked,
    Nacked,
    Sent,
    StreamClosed,
    StreamOpened,
    StreamRefused,
)
from scopeway.xds.grpc_server.server import Server, serve
from scopeway.xds.limits import Limits
from scopeway.xds.source import Found, Locality, Node, NodeView
from scopeway.xds.type_urls import CLUSTER, LISTENER
from xds_client import GUARD, Recorder
from xds_model import Store

pytestmark = [pytest.mark.asyncio, pytest.mark.envoy]


def cluster(name: str, *, timeout: int = 5, bad: bool = False) -> str:
    """A STATIC cluster; a bad one has a load balancing policy that does not go with it."""
    body = wire.field_string(1, name) + wire.field_bytes(4, wire.field_varint(1, timeout))
    if bad:
        body += wire.field_varint(6, 6)
    return body.decode()


def bootstrap(port: int) -> dict[str, Any]:
    return {
        "node": {
            "id": "site/1",
            "cluster": "site",
            "locality": {"region": "r", "zone": "z"},
            "metadata": {"rack": {"row": 7}},
            "client_features": ["x"],
        },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
            "lds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [xds_cluster(port)]},
    }


@pytest.fixture
def store() -> Store:
    names = ["a", "b", "c", "d", "e"]
    store = Store(texts={(CLUSTER, name): cluster(name) for name in names})
    store.wildcards = {CLUSTER: names, LISTENER: []}
    return store


@pytest.fixture
def log() -> Recorder:
    return Recorder()


@pytest_asyncio.fixture
async def server(store: Store, log: Recorder) -> AsyncIterator[Server]:
    async with serve(store, listen="127.0.0.1:0", observer=log, csds=True) as server:
        yield server


@pytest_asyncio.fixture
async def envoy(server: Server, tmp_path: Path) -> AsyncIterator[Envoy]:
    envoy = await asyncio.to_thread(Envoy, bootstrap(server.port), tmp_path)
    await asyncio.to_thread(envoy.wait_ready)
    yield envoy
    await asyncio.to_thread(envoy.stop)


async def clusters(envoy: Envoy) -> dict[str, str]:
    """The versions of the clusters that Envoy has."""
    dump = await asyncio.to_thread(lambda: envoy.admin("/config_dump").json)
    (found,) = (each for each in dump["configs"] if each["@type"].endswith("ClustersConfigDump"))
    active = found.get("dynamic_active_clusters", [])
    return {each["cluster"]["name"]: each["version_info"] for each in active}


def quiet(server: Server) -> bool:
    """Whether the client has acknowledged everything."""
    types = [each for stream in server.status() for each in stream.types]
    return len(types) == 2 and not any(each.in_flight_since for each in types)


async def test_envoy_starts_with_the_names_of_the_wildcard(
    store: Store, server: Server, envoy: Envoy, log: Recorder
) -> None:
    await log.until(lambda: quiet(server))

    assert sorted(await clusters(envoy)) == ["a", "b", "c", "d", "e"]
    assert not log.of(Nacked)


async def test_a_source_gets_the_node_that_envoy_sends(
    store: Store, server: Server, envoy: Envoy, log: Recorder
) -> None:
    await log.until(lambda: quiet(server))

    (view,) = store.views
    version = view.node.user_agent.removeprefix("envoy/")
    assert view.node == Node(
        id="site/1",
        cluster="site",
        locality=Locality(region="r", zone="z"),
        metadata={"rack.row": "7"},
        user_agent=f"envoy/{version}",
        client_features=frozenset({"x"}),
    )
    assert version.count(".") == 2


async def test_a_bad_cluster_blocks_no_other(
    store: Store, server: Server, envoy: Envoy, log: Recorder
) -> None:
    await log.until(lambda: quiet(server))
    before = await clusters(envoy)
    for name in before:
        store.texts[CLUSTER, name] = cluster(name, timeout=6, bad=name == "c")
    server.notifier.resources_changed(CLUSTER, list(before))
    await log.until(lambda: bool(log.of(Nacked)) and log.of(Nacked)[-1].names == ("c",))
    await log.until(lambda: quiet(server))

    after = await clusters(envoy)
    assert {name for name in before if after[name] != before[name]} == {"a", "b", "d", "e"}
    (status,) = (each for each in server.status()[0].types if each.type_url == CLUSTER)
    assert list(status.rejected) == ["c"]


async def test_csds_reports_what_envoy_runs_and_rejects(
    store: Store, server: Server, envoy: Envoy, log: Recorder
) -> None:
    await log.until(lambda: quiet(server))
    store.texts[CLUSTER, "c"] = cluster("c", bad=True)
    server.notifier.resources_changed(CLUSTER, ["c"])
    await log.until(lambda: bool(log.of(Nacked)) and quiet(server))
    fetch = "/envoy.service.status.v3.ClientStatusDiscoveryService/FetchClientStatus"
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        (config,) = ClientStatusResponse.parse(await channel.unary_unary(fetch)(b"")).config

    found = {each.name: each for each in config.generic_xds_configs}
    bad = found.pop("c")
    assert {name: each.version_info for name, each in found.items()} == {
        name: version for name, version in (await clusters(envoy)).items() if name != "c"
    }
    assert {each.config_status for each in found.values()} == {ConfigStatus.SYNCED}
    assert bad.config_status is ConfigStatus.ERROR
    assert bad.error_state is not None
    assert bad.error_state.details == log.of(Nacked)[-1].message != ""


async def test_envoy_removes_a_removed_cluster(
    store: Store, server: Server, envoy: Envoy, log: Recorder
) -> None:
    await log.until(lambda: quiet(server))
    taken = len(log.of(Acked))
    store.wildcards[CLUSTER] = ["a", "b"]
    server.notifier.wildcard_changed(CLUSTER, "site")
    await log.until(lambda: len(log.of(Acked)) > taken)

    assert sorted(await clusters(envoy)) == ["a", "b"]


async def test_a_reconnecting_envoy_is_sent_nothing_that_it_has(
    store: Store, envoy: Envoy, server: Server, log: Recorder
) -> None:
    await log.until(lambda: quiet(server))
    sent = len(log.of(Sent))
    server.drain()
    await log.until(lambda: len(log.of(StreamClosed)) == 1)
    await log.until(lambda: len(log.of(StreamOpened)) == 2 and quiet(server))
    store.texts[CLUSTER, "a"] = cluster("a", timeout=6)
    server.notifier.resources_changed(CLUSTER, ["a"])
    await log.until(lambda: any(each.resources for each in log.of(Sent)[sent:]))

    assert [each.resources for each in log.of(Sent)[sent:] if each.type_url == CLUSTER] == [1]


async def test_a_refused_envoy_reconnects_by_itself(
    store: Store, log: Recorder, tmp_path: Path
) -> None:
    limits = Limits(connects_per_second=0.5, connects_burst=1, connect_wait=0)
    async with serve(store, listen="127.0.0.1:0", observer=log, limits=limits) as server:
        envoy = await asyncio.to_thread(Envoy, bootstrap(server.port), tmp_path)
        try:
            await log.until(lambda: len(log.of(Acked)) >= 2)
            async with asyncio.timeout(GUARD):
                while not log.of(StreamRefused):
                    # an Envoy that is sent away comes back within half a second
                    seen = len(log.events)
                    server.drain()
                    await log.until(
                        lambda: any(
                            isinstance(each, StreamOpened | StreamRefused)
                            for each in log.events[seen:]  # noqa: B023
                        )
                    )
            opened = len(log.of(StreamOpened))
            before = await clusters(envoy)
            store.texts[CLUSTER, "a"] = cluster("a", timeout=6)
            await log.until(lambda: len(log.of(StreamOpened)) > opened and quiet(server))
            after = await clusters(envoy)
        finally:
            await asyncio.to_thread(envoy.stop)

    assert sorted(before) == ["a", "b", "c", "d", "e"]
    assert {name for name in before if after[name] != before[name]} == {"a"}


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
async def test_envoy_drops_a_resource_with_a_ttl_without_a_server(
    api_type: str, store: Store, log: Recorder, tmp_path: Path
) -> None:
    store.ttls[CLUSTER, "a"] = 4.0
    refreshes = 5  # a third of the TTL after one another
    async with AsyncExitStack() as stack:
        async with serve(store, listen="127.0.0.1:0", observer=log) as server:
            config = bootstrap(server.port)
            config["dynamic_resources"]["ads_config"]["api_type"] = api_type
            envoy = await asyncio.to_thread(Envoy, config, tmp_path)
            stack.push_async_callback(asyncio.to_thread, envoy.stop)
            await log.until(
                lambda: sum(each.type_url == CLUSTER for each in log.of(Sent)) > refreshes
            )
            before = sorted(await clusters(envoy))
        async with asyncio.timeout(GUARD):
            while "a" in await clusters(envoy):
                pass
        after = sorted(await clusters(envoy))

    assert before == ["a", "b", "c", "d", "e"]
    assert after == ["b", "c", "d", "e"]
    assert not log.of(Nacked)


class GatedStore(Store):
    """A store of clusters that answers later: of "b", when the test lets it."""

    def __init__(self) -> None:
        names = ["a", "b"]
        super().__init__(texts={(CLUSTER, name): cluster(name) for name in names})
        self.wildcards = {CLUSTER: names, LISTENER: []}
        self.gate = asyncio.Event()
        self.asked = asyncio.Event()

    def attach(self, node: Node) -> NodeView:
        return GatedView(self, super().attach(node))


class GatedView:
    """What a node sees of a `GatedStore`."""

    def __init__(self, store: GatedStore, view: NodeView) -> None:
        self.group, self.wildcard, self.close = view.group, view.wildcard, view.close
        self._store, self._view = store, view

    async def resource(self, type_url: str, name: str) -> Found:
        if name == "b":
            self._store.asked.set()
            await self._store.gate.wait()
        found = self._view.resource(type_url, name)
        assert not isinstance(found, Awaitable)
        return found


async def test_an_envoy_that_comes_back_keeps_its_clusters_until_all_are_known(
    log: Recorder, tmp_path: Path
) -> None:
    """In the state of the world, clusters that an answer leaves out would be removed."""
    store = GatedStore()
    store.gate.set()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serve(store, listen="127.0.0.1:0", observer=log))
        config = bootstrap(server.port)
        config["dynamic_resources"]["ads_config"]["api_type"] = "GRPC"
        envoy = await asyncio.to_thread(Envoy, config, tmp_path)
        stack.push_async_callback(asyncio.to_thread, envoy.stop)
        await asyncio.to_thread(envoy.wait_ready)
        await log.until(lambda: quiet(server))
        log.events.clear()
        store.gate.clear()
        store.asked.clear()
        store.texts[CLUSTER, "b"] = cluster("b", timeout=6)

        server.drain()
        async with asyncio.timeout(GUARD):
            await store.asked.wait()
        await asyncio.sleep(0.1)  # an answer with "a" alone would be sent now
        store.gate.set()
        await log.until(lambda: any(each.type_url == CLUSTER for each in log.of(Acked)))

        assert sorted(await clusters(envoy)) == ["a", "b"]
        sent = [each.resources for each in log.of(Sent) if each.type_url == CLUSTER]
        assert sent == [2]
