"""gRPC's health service by a real client: what it says while the server runs, drains and stops."""

import asyncio
from typing import Any

import grpc
import grpc.aio
import pytest

from scopeway import xds
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.grpc_server.services import SERVICES
from xds_client import GUARD, connect
from xds_model import Store

pytestmark = pytest.mark.asyncio

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def serve() -> Any:
    return xds.serve(Store(), listen="127.0.0.1:0", health=True)


async def check(channel: grpc.aio.Channel, service: str = "") -> bytes:
    answer: bytes = await channel.unary_unary(CHECK)(wire.field_string(1, service), timeout=GUARD)
    return answer


def watch(channel: grpc.aio.Channel, service: str = "") -> Any:
    return channel.unary_stream(WATCH)(wire.field_string(1, service), timeout=GUARD)


def channel_to(server: xds.Server) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")


@pytest.mark.parametrize(
    "service", ["", "grpc.health.v1.Health", *(each.name for each in SERVICES)]
)
async def test_a_running_server_and_each_service_of_it_is_serving(service: str) -> None:
    async with serve() as server, channel_to(server) as channel:
        assert await check(channel, service) == SERVING


async def test_a_service_that_is_not_there_is_not_found() -> None:
    async with serve() as server, channel_to(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel, "other")

    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.NOT_FOUND,
        "there is no service 'other'",
    )


async def test_who_watches_a_service_that_is_not_there_is_told_that_it_is_unknown() -> None:
    async with serve() as server, channel_to(server) as channel:
        assert await watch(channel, "other").read() == SERVICE_UNKNOWN


async def test_a_request_that_cannot_be_read_is_refused() -> None:
    async with serve() as server, channel_to(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await channel.unary_unary(CHECK)(b"\x0a\x05a")

    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "malformed HealthCheckRequest: field 1 is cut off at byte 3",
    )


async def test_while_the_server_drains_it_is_not_serving() -> None:
    async with serve() as server, channel_to(server) as channel, connect(server) as client:
        watching = watch(channel)
        assert await watching.read() == SERVING
        await client.send(subscribe=["a"])
        await client.take()
        server.drain()

        assert await watching.read() == NOT_SERVING
        assert await check(channel) == NOT_SERVING
        assert (await client.ended())[0] is grpc.StatusCode.UNAVAILABLE


async def test_who_watches_is_told_before_the_first_stream_of_a_slow_drain_ends() -> None:
    async with serve() as server, channel_to(server) as channel, connect(server) as client:
        watching = watch(channel)
        assert await watching.read() == SERVING
        await client.send(subscribe=["a"])
        await client.take()
        draining = asyncio.create_task(server.drain_slowly(over=3600.0))

        assert await watching.read() == NOT_SERVING
        draining.cancel()


async def test_leaving_the_server_tells_who_watches_and_ends_the_watch() -> None:
    """The watch must not hold the stop up until `drain_timeout` is over."""
    serving = serve()
    server = await serving.__aenter__()
    async with channel_to(server) as channel:
        watching = watch(channel)
        assert await watching.read() == SERVING
        leaving = asyncio.create_task(serving.__aexit__(None, None, None))

        assert await watching.read() == NOT_SERVING
        assert await watching.read() is grpc.aio.EOF
        assert await watching.code() is grpc.StatusCode.OK
        await leaving


async def test_without_the_option_there_is_no_health_service() -> None:
    async with xds.serve(Store(), listen="127.0.0.1:0") as server, channel_to(server) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await check(channel)

    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
