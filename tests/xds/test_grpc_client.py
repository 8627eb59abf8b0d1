"""grpcio's own `xds:///` client, which is no Envoy: state of the world, on one stream."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import grpc.aio
import pytest
from betterproto2 import Message
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    Locality,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import (
    ClusterLoadAssignment,
    Endpoint,
    LbEndpoint,
    LocalityLbEndpoints,
)
from envoy_data_plane.envoy.config.listener.v3 import ApiListener, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpFilter,
    Rds,
)
from envoy_data_plane.google.protobuf import Any

from scopeway.xds.encoding.messages import resource
from scopeway.xds.events import Acked, Event, Nacked
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE

pytestmark = pytest.mark.asyncio

GUARD = 30.0
METHOD = "/echo.Echo/Say"
CALLER = f"""
import sys, grpc
with grpc.insecure_channel("xds:///echo.test") as channel:
    say = channel.unary_unary("{METHOD}")
    for line in sys.stdin:
        try:
            print(say(line.strip().encode(), timeout={GUARD}).decode(), flush=True)
        except grpc.RpcError as error:
            print(error.code().name, error.details(), flush=True)
"""
"""A line in is a call, its answer is a line out."""
ADS = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)


class World:
    """A source of what leads from a name to endpoints; notes what the client answers."""

    group = "all"

    def __init__(self, *resources: Resource) -> None:
        self.found = {(each.type_url, each.name): each for each in resources}
        self.acked: list[str] = []
        self.rejected: list[Nacked] = []

    def type_urls(self) -> Collection[str]:
        return [LISTENER, ROUTE, CLUSTER, ENDPOINT]

    def attach(self, node: Node) -> "World":
        return self

    def resource(self, type_url: str, name: str) -> Resource | None:
        return self.found.get((type_url, name))

    def wildcard(self, type_url: str) -> Collection[str]:
        return []

    def close(self) -> None: ...

    def observe(self, node: Node | None, event: Event) -> None:
        if isinstance(event, Nacked):
            self.rejected.append(event)
        if isinstance(event, Acked):
            self.acked.append(event.type_url)


def encode(type_url: str, name: str, message: Message) -> Resource:
    return resource(type_url, name, bytes(message))


def listener() -> Resource:
    router = HttpFilter(name="router", typed_config=Any.pack(Router()))
    manager = HttpConnectionManager(
        rds=Rds(config_source=ADS, route_config_name="routes"), http_filters=[router]
    )
    api = ApiListener(api_listener=Any.pack(manager))
    return encode(LISTENER, "echo.test", Listener(name="echo.test", api_listener=api))


def routes() -> Resource:
    route = Route(match=RouteMatch(prefix=""), route=RouteAction(cluster="echo"))
    host = VirtualHost(name="echo", domains=["echo.test"], routes=[route])
    return encode(ROUTE, "routes", RouteConfiguration(name="routes", virtual_hosts=[host]))


def cluster() -> Resource:
    message = Cluster(
        name="echo",
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=ADS, service_name="endpoints"),
    )
    return encode(CLUSTER, "echo", message)


def endpoints(port: int) -> Resource:
    address = Address(socket_address=SocketAddress(address="127.0.0.1", port_value=port))
    locality = LocalityLbEndpoints(
        locality=Locality(zone="here"),
        lb_endpoints=[LbEndpoint(endpoint=Endpoint(address=address))],
        load_balancing_weight=1,
    )
    message = ClusterLoadAssignment(cluster_name="endpoints", endpoints=[locality])
    return encode(ENDPOINT, "endpoints", message)


@asynccontextmanager
async def echo(name: str) -> AsyncIterator[int]:
    """A server that answers each call with its name and what was said; yields its port."""

    async def say(request: bytes, context: object) -> bytes:
        return f"{name} {request.decode()}".encode()

    handlers = {"Say": grpc.unary_unary_rpc_method_handler(say)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("echo.Echo", handlers),),
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


class Caller:
    """The client, in a process of its own: gRPC reads its bootstrap once in a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def say(self, text: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{text}\n".encode())
        async with asyncio.timeout(GUARD + 5):
            return (await self._process.stdout.readline()).decode().strip()


@asynccontextmanager
async def caller(port: int, directory: Path) -> AsyncIterator[Caller]:
    """A client whose bootstrap names the xDS server at a port."""
    bootstrap = directory / "bootstrap.json"
    server = {
        "server_uri": f"127.0.0.1:{port}",
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    node = {"id": "site/1", "cluster": "site"}
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": node}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CALLER),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
    )
    try:
        yield Caller(process)
    finally:
        process.kill()
        await process.wait()


async def test_a_grpc_client_calls_the_current_endpoints(tmp_path: Path) -> None:
    async with echo("first") as first, echo("second") as second:
        world = World(listener(), routes(), cluster(), endpoints(first))
        async with (
            serve(world, listen="127.0.0.1:0", observer=world) as server,
            caller(server.port, tmp_path) as client,
        ):
            assert await client.say("hello") == "first hello"

            world.found[ENDPOINT, "endpoints"] = endpoints(second)
            server.notifier.resources_changed(ENDPOINT, ["endpoints"])
            async with asyncio.timeout(GUARD):
                while await client.say("hello") != "second hello":
                    pass
            answers = [await client.say(str(number)) for number in range(5)]

            assert answers == [f"second {number}" for number in range(5)]
            assert set(world.acked) == {LISTENER, ROUTE, CLUSTER, ENDPOINT}
            assert not world.rejected


async def test_a_grpc_client_drops_resources_that_a_full_state_leaves_out(tmp_path: Path) -> None:
    async with echo("first") as port:
        world = World(listener(), routes(), cluster(), endpoints(port))
        async with (
            serve(world, listen="127.0.0.1:0", observer=world) as server,
            caller(server.port, tmp_path) as client,
        ):
            assert await client.say("hello") == "first hello"

            kept = world.found.pop((LISTENER, "echo.test"))
            server.notifier.resources_changed(LISTENER, ["echo.test"])
            async with asyncio.timeout(GUARD):
                while not (await client.say("hello")).startswith("UNAVAILABLE"):
                    pass
            world.found[LISTENER, "echo.test"] = kept
            server.notifier.resources_changed(LISTENER, ["echo.test"])
            async with asyncio.timeout(GUARD):
                while await client.say("hello") != "first hello":
                    pass
            assert not world.rejected
