"""A real Envoy accepts every type: delta and SotW, on one stream and on a stream for each type."""

import asyncio
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.google import protobuf

from harness.envoy import Envoy, xds_cluster
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import resource
from scopeway.xds.events import Event, Nacked
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, ENDPOINT, EXTENSION, LISTENER, ROUTE, RUNTIME, SECRET

pytestmark = [pytest.mark.asyncio, pytest.mark.envoy]

GUARD = 10.0
"""Less than the 15 s after which Envoy takes a cluster without fresh endpoints."""
HCM = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
BUFFER = "type.googleapis.com/envoy.extensions.filters.http.buffer.v3.Buffer"
ROUTER = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
NAMES = {CLUSTER: "c", ENDPOINT: "c", LISTENER: "l", ROUTE: "r", SECRET: "s", RUNTIME: "rt"} | {
    EXTENSION: "x"
}
WILDCARD = (CLUSTER, LISTENER)


def text(number: int, value: str) -> bytes:
    return wire.field_string(number, value)


def message(number: int, *parts: bytes) -> bytes:
    return wire.field_bytes(number, b"".join(parts))


def packed(number: int, type_url: str, *parts: bytes) -> bytes:
    return wire.field_bytes(number, wire.any_message(type_url, b"".join(parts)))


def config_source(api_type: str, ads: bool) -> tuple[bytes, dict[str, Any]]:
    """Where a resource comes from, on the wire and for a bootstrap."""
    if ads:
        return message(3) + wire.field_varint(6, 2), {"ads": {}, "resource_api_version": "V3"}
    number = {"GRPC": 2, "DELTA_GRPC": 3}[api_type]
    service = message(4, message(1, text(1, "xds")))
    encoded = message(2, wire.field_varint(1, number), service, wire.field_varint(8, 2))
    return encoded + wire.field_varint(6, 2), {
        "api_config_source": api_config(api_type),
        "resource_api_version": "V3",
    }


def api_config(api_type: str) -> dict[str, Any]:
    return {
        "api_type": api_type,
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }


def bodies(source: bytes, timeout: int = 5) -> dict[str, bytes]:
    """One resource of each type, each in use by another."""
    address = message(1, text(2, "127.0.0.1"), wire.field_varint(3, 1))
    secret = message(7, text(1, "s"), message(2, source))
    cluster = (
        text(1, "c"),
        wire.field_varint(2, 3),
        message(3, message(1, source)),
        message(4, wire.field_varint(1, timeout)),
        message(24, text(1, "tls"), packed(3, TLS, message(1, secret))),
    )
    hcm = (
        text(2, "l"),
        message(3, message(1, source), text(2, "r")),
        message(5, text(1, "x"), message(5, message(1, source), text(4, BUFFER))),
        message(5, text(1, "router"), packed(4, ROUTER)),
    )
    listener = (
        text(1, "l"),
        message(2, message(1, text(2, "127.0.0.1"), wire.field_varint(3, 0))),
        message(3, message(3, text(1, "hcm"), packed(4, HCM, *hcm))),
    )
    layer = protobuf.Struct.from_dict({"some.key": 7.0})
    return {
        CLUSTER: b"".join(cluster),
        ENDPOINT: text(1, "c") + message(2, message(2, message(1, message(1, address)))),
        LISTENER: b"".join(listener),
        ROUTE: text(1, "r")
        + message(
            2,
            text(1, "v"),
            text(2, "*"),
            message(3, message(1, text(1, "/")), message(2, text(1, "c"))),
        ),
        SECRET: text(1, "s") + message(4),
        RUNTIME: text(1, "rt") + message(2, bytes(layer)),
        EXTENSION: text(1, "x") + packed(2, BUFFER, message(1, wire.field_varint(1, 1024))),
    }


class World:
    """A source with one resource of each type; notes which types were rejected."""

    group = "all"

    def __init__(self, found: dict[str, bytes]) -> None:
        self.found = found
        self.rejected: list[Nacked] = []

    def type_urls(self) -> Collection[str]:
        return self.found

    def attach(self, node: Node) -> "World":
        return self

    def resource(self, type_url: str, name: str) -> Resource | None:
        known = NAMES[type_url] == name
        return resource(type_url, name, self.found[type_url]) if known else None

    def wildcard(self, type_url: str) -> Collection[str]:
        return [NAMES[type_url]] if type_url in WILDCARD else []

    def close(self) -> None: ...

    def observe(self, node: Node | None, event: Event) -> None:
        if isinstance(event, Nacked):
            self.rejected.append(event)


def bootstrap(port: int, api_type: str, ads: bool) -> dict[str, Any]:
    _, source = config_source(api_type, ads)
    dynamic = {"cds_config": source, "lds_config": source}
    return {
        "node": {"id": "site/1", "cluster": "site"},
        "dynamic_resources": {**dynamic, "ads_config": api_config(api_type)} if ads else dynamic,
        "layered_runtime": {
            "layers": [{"name": "rt", "rtds_layer": {"name": "rt", "rtds_config": source}}]
        },
        "static_resources": {"clusters": [xds_cluster(port)]},
    }


def versions(value: Any) -> Iterator[str]:
    """Yield every version that a dump shows."""
    if isinstance(value, dict):
        for key, each in value.items():
            if key == "version_info":
                yield each
            yield from versions(each)
    elif isinstance(value, list):
        for each in value:
            yield from versions(each)


async def applied(envoy: Envoy) -> dict[str, Any]:
    """What Envoy says it runs, by the name of the dump."""
    dump = await asyncio.to_thread(lambda: envoy.admin("/config_dump?include_eds").json)
    runtime = await asyncio.to_thread(lambda: envoy.admin("/runtime").json)
    found = {each["@type"].rpartition(".")[2]: each for each in dump["configs"]}
    return found | {"Runtime": runtime}


def is_active(dump: Any, timeout: str) -> bool:
    """Whether the one cluster is in use with this time-out."""
    active = [each["cluster"] for each in dump.get("dynamic_active_clusters", [])]
    return [each["connect_timeout"] for each in active] == [timeout]


@pytest.mark.parametrize("ads", [True, False], ids=["ads", "a stream each"])
@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
async def test_envoy_applies_every_resource_type(api_type: str, ads: bool, tmp_path: Path) -> None:
    encoded, _ = config_source(api_type, ads)
    world = World(bodies(encoded))
    async with serve(world, listen="127.0.0.1:0", observer=world) as server:
        envoy = await asyncio.to_thread(Envoy, bootstrap(server.port, api_type, ads), tmp_path)
        try:
            await asyncio.to_thread(envoy.wait_ready)
            found = await applied(envoy)

            assert not world.rejected
            assert found["Runtime"]["entries"]["some.key"]["final_value"] == "7"
            for dump in ("Clusters", "Listeners", "Routes", "Secrets", "Ecds"):
                assert any(versions(found[f"{dump}ConfigDump"])), dump
            assert "'port_value': 1}" in str(found["EndpointsConfigDump"])
            assert "warming" not in str(found["ClustersConfigDump"])

            # and a changed cluster is in use, although its endpoints are what they were
            world.found[CLUSTER] = bodies(encoded, timeout=6)[CLUSTER]
            server.notifier.resources_changed(CLUSTER, ["c"])
            async with asyncio.timeout(GUARD):
                while not is_active((await applied(envoy))["ClustersConfigDump"], "6s"):
                    pass
            assert not world.rejected
        finally:
            await asyncio.to_thread(envoy.stop)
