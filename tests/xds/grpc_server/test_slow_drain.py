"""A drain that ends streams one after the other, with a real gRPC client on loopback."""

import asyncio

import grpc
import grpc.aio
import pytest

from scopeway.xds.events import StreamClosed
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.type_urls import CLUSTER
from xds_client import GUARD, Recorder, connect
from xds_model import Store

pytestmark = pytest.mark.asyncio


@pytest.fixture
def store() -> Store:
    return Store(texts={(CLUSTER, "a"): "1", (CLUSTER, "b"): "1"})


async def test_a_slow_drain_serves_delayed_streams_and_accepts_no_new_ones(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server, "site/1") as one,
        connect(server, "site/2") as two,
    ):
        for client in (one, two):
            await client.send(subscribe=["a"])
            await client.take()
        draining = asyncio.create_task(server.drain_slowly(over=3600.0))
        await recorder.seen(StreamClosed)
        (left,) = server.status()
        waiting = one if left.node.id == "site/1" else two
        await waiting.send(subscribe=["b"])

        assert (await waiting.take()).texts == {"b": "1"}
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", server.port)
        async with connect(server, "site/3") as late:
            assert (await late.ended())[0] is grpc.StatusCode.UNAVAILABLE
        assert not draining.done()
    async with asyncio.timeout(GUARD):
        await draining  # all are gone


async def test_a_slow_drain_without_streams_returns_at_once(store: Store) -> None:
    async with asyncio.timeout(GUARD), serve(store, listen="127.0.0.1:0") as server:
        await server.drain_slowly(over=3600.0)


async def test_a_slow_drain_ends_streams_one_by_one(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as one,
        connect(server) as two,
    ):
        for client in (one, two):
            await client.send(subscribe=["a"])
            await client.take()
        draining = asyncio.create_task(server.drain_slowly(over=3600.0))
        assert await recorder.seen(StreamClosed) == [
            StreamClosed("UNAVAILABLE", "the server is shutting down")
        ]
        # both calls begin when they are made, so either may have been the first to come
        (left,) = server.status()
        draining.cancel()
        await server.drain_slowly(over=0.0)

        assert left.node.id == "site/1"
        for client in (one, two):
            assert (await client.ended())[0] is grpc.StatusCode.UNAVAILABLE
