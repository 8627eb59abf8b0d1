"""The aggregated service and those of one type, with a real gRPC client on loopback."""

import asyncio

import grpc
import grpc.aio
import pytest

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.grpc_server.services import SERVICES, Service
from scopeway.xds.type_urls import CLUSTER
from xds_client import GUARD, Client
from xds_model import Store, read_response, write_request

pytestmark = pytest.mark.asyncio


@pytest.fixture
def store() -> Store:
    return Store(texts={(CLUSTER, "a"): "1", (CLUSTER, "b"): "1"})


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
async def test_each_service_serves_delta_and_sotw(store: Store, service: Service) -> None:
    type_url = service.type_url or CLUSTER
    node = wire.field_bytes(1, wire.field_string(1, "site/1") + wire.field_string(2, "site"))
    # on a stream of one type a request need not name it
    named = "" if service.type_url else type_url
    async with (
        serve(store, listen="127.0.0.1:0") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        async with asyncio.timeout(GUARD):
            call = channel.stream_stream(f"/{service.name}/{service.delta}")()
            await call.write(write_request(named, node=("site/1", "site"), subscribe=["a"]))
            received = read_response(await call.read())

            assert received.type_url == type_url
            assert ("a" in received.texts) == (type_url == CLUSTER)
            if service.sotw is None:
                return
            call = channel.stream_stream(f"/{service.name}/{service.sotw}")()
            sotw = wire.field_bytes(2, node[2:]) + wire.field_string(3, "*")
            sotw += wire.field_string(4, named)
            await call.write(sotw)
            data = await call.read()
            fields = {n: data[s:e] for n, s, e in wire.fields(data)}

        assert fields[4].decode() == type_url


async def test_a_service_of_one_type_refuses_other_types(store: Store) -> None:
    async with (
        serve(store, listen="127.0.0.1:0") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        name = "/envoy.service.listener.v3.ListenerDiscoveryService/DeltaListeners"
        client = Client(channel.stream_stream(name)(), "site/1")
        await client.send(CLUSTER, subscribe=["a"])
        code, details = await client.ended()

    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert CLUSTER in details


async def test_fetching_is_not_implemented(store: Store) -> None:
    async with (
        serve(store, listen="127.0.0.1:0") as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        fetch = channel.unary_unary(
            "/envoy.service.cluster.v3.ClusterDiscoveryService/FetchClusters"
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await fetch(b"")

    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
