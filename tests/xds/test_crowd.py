"""Many new streams at once: they wait for their turn, or are refused with a hint."""

import json
import logging

import grpc
import grpc.aio
import pytest
from xds_client import METHOD, Client, Recorder, connect
from xds_model import Store

from xds.entrance import Crowd
from xds.events import StreamClosed, StreamHeld, StreamOpened, StreamRefused
from xds.limits import Limits
from xds.server import serve
from xds.types import CLUSTER

pytestmark = pytest.mark.asyncio

NEVER = 1e-3
"""Streams a second: the next one has its turn after the test."""


@pytest.fixture
def store() -> Store:
    return Store(texts={(CLUSTER, "a"): "1"})


async def test_a_stream_is_not_read_before_its_turn(store: Store) -> None:
    recorder = Recorder()
    limits = Limits(connects_per_second=NEVER, connects_burst=1, connect_wait=2 / NEVER)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server, "site/1") as first,
    ):
        await first.send(subscribe=["a"])
        await first.take()
        async with connect(server, "site/2") as second:
            await second.send(subscribe=["a"])
            (held,) = await recorder.seen(StreamHeld)
            for _ in range(20):  # a stream that is open is served as always
                await first.send(subscribe=["a"])
                await first.take()
            assert len(store.views) == 1

            server.drain()
            ended = await second.ended()

    assert held.seconds == pytest.approx(1 / NEVER, rel=0.1)
    assert ended == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
    closed = await recorder.seen(StreamClosed, 2)
    assert sorted(each.opened for each in closed) == [False, True]


async def test_when_its_turn_has_come_a_stream_is_served(store: Store) -> None:
    recorder = Recorder()
    # the silence that a stream may keep is counted from its turn
    limits = Limits(connects_per_second=1 / 3, connects_burst=1, first_request_timeout=2)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server, "site/1") as first,
        connect(server, "site/2") as second,
    ):
        for client in (first, second):
            await client.send(subscribe=["a"])
        for client in (first, second):
            assert (await client.take()).texts == {"a": "1"}

    assert len(await recorder.seen(StreamHeld)) == 1


async def test_beyond_the_longest_wait_a_stream_is_refused_with_a_hint(store: Store) -> None:
    recorder = Recorder()
    limits = Limits(connects_per_second=NEVER, connects_burst=1, connect_wait=1)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server, "site/1") as first,
    ):
        await first.send(subscribe=["a"])
        await first.take()
        async with connect(server, "site/2") as second:
            ended = await second.ended()
            hint = dict(await second.call.trailing_metadata() or ())
        (refused,) = await recorder.seen(StreamRefused)

        assert ended[0] is grpc.StatusCode.UNAVAILABLE
        assert 1 / NEVER - 20 < refused.retry_after < 2 / NEVER
        assert int(hint["grpc-retry-pushback-ms"]) == pytest.approx(refused.retry_after * 1e3, 1e-3)
        assert not [each for each in recorder.events if isinstance(each, StreamClosed)]
        assert len(store.views) == 1


async def test_a_client_of_grpc_comes_back_when_it_was_told_to(store: Store) -> None:
    """By itself it would wait for minutes: only the hint (gRFC A6) brings it back."""
    recorder = Recorder()
    retry = {
        "maxAttempts": 5,
        "initialBackoff": "900s",
        "maxBackoff": "900s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": retry}]})
    limits = Limits(connects_per_second=2, connects_burst=1, connect_wait=0)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        grpc.aio.insecure_channel(
            f"127.0.0.1:{server.port}", options=[("grpc.service_config", config)]
        ) as channel,
    ):
        clients = [Client(channel.stream_stream(METHOD)(), f"site/{n}") for n in range(2)]
        for client in clients:
            await client.send(subscribe=["a"])
        for client in clients:
            assert (await client.take()).texts == {"a": "1"}

    assert len(await recorder.seen(StreamRefused)) >= 1
    assert len(await recorder.seen(StreamOpened, 2)) == 2


async def test_a_crowd_is_logged_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    crowd = Crowd()
    with caplog.at_level(logging.INFO):
        crowd.tell()
        for number in range(1000):
            crowd.note(StreamHeld(number / 250))
        for _ in range(50):
            crowd.note(StreamRefused(5))
        assert not caplog.records
        crowd.tell()
        crowd.tell()

    (record,) = caplog.records
    assert record.getMessage() == (
        "new streams came too fast: 1000 waited for their turn, up to 4.0 s, 50 were refused"
    )
