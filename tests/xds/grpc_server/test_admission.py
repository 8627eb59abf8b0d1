"""Many new streams at once: they are delayed, or refused with a retry hint."""

import asyncio
import json
import logging
import sys
import time

import grpc
import grpc.aio
import pytest

from scopeway.xds.events import StreamClosed, StreamDelayed, StreamOpened, StreamRefused
from scopeway.xds.grpc_server.admission import AdmissionLog
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.limits import Limits
from scopeway.xds.type_urls import CLUSTER
from xds_client import METHOD, Client, Recorder, connect
from xds_model import Store

pytestmark = pytest.mark.asyncio

NEVER = 1e-3
"""Streams a second: the next one has its turn after the test."""


@pytest.fixture
def store() -> Store:
    return Store(texts={(CLUSTER, "a"): "1"})


async def test_a_delayed_stream_is_not_read(store: Store) -> None:
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
            (held,) = await recorder.seen(StreamDelayed)
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


async def test_a_delayed_stream_is_served_after_its_delay(store: Store) -> None:
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

    assert len(await recorder.seen(StreamDelayed)) == 1


async def test_a_stream_over_the_longest_delay_is_refused_with_a_retry_hint(store: Store) -> None:
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


async def test_a_grpc_client_obeys_the_retry_hint(store: Store) -> None:
    """Without the hint (gRFC A6) it would wait for minutes."""
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


async def test_delayed_and_refused_streams_are_logged_in_one_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = AdmissionLog()
    with caplog.at_level(logging.INFO):
        log.flush()
        for number in range(1000):
            log.record(StreamDelayed(number / 250))
        for _ in range(50):
            log.record(StreamRefused(5))
        assert not caplog.records
        log.flush()
        log.flush()

    (record,) = caplog.records
    assert record.getMessage() == ("too many new streams: delayed 1000 by up to 4.0 s, refused 50")


async def test_a_client_over_its_own_limit_does_not_use_up_the_limit_of_all(store: Store) -> None:
    """In production its certificate identifies the client; here the test does."""
    recorder = Recorder()
    limits = Limits(
        connects_burst=3,
        connects_per_second=NEVER,
        client_connects_burst=1,
        client_connects_per_second=NEVER,
        connect_wait=1,
    )
    keys = iter(["hostile"] * 9 + ["honest"])
    async with serve(
        store,
        listen="127.0.0.1:0",
        observer=recorder,
        limits=limits,
        key=lambda *_: next(keys),
    ) as server:
        for number in range(9):
            async with connect(server, f"site/{number}") as client:
                if number == 0:
                    await client.send(subscribe=["a"])
                    assert (await client.take()).texts == {"a": "1"}
                else:  # it ends before it is read
                    assert (await client.ended())[0] is grpc.StatusCode.UNAVAILABLE
        async with connect(server, "site/honest") as client:
            await client.send(subscribe=["a"])
            assert (await client.take()).texts == {"a": "1"}

    assert len(recorder.of(StreamRefused)) == 8


@pytest.mark.parametrize(("seconds", "served"), [(1, False), (None, True)], ids=["grpc", "ours"])
async def test_a_call_that_was_not_accepted_for_long_is_served(
    store: Store, monkeypatch: pytest.MonkeyPatch, seconds: int | None, served: bool
) -> None:
    """gRPC would cancel all but the first, by itself after 30 s (`seconds` in the first case)."""
    if seconds is not None:
        monkeypatch.setattr("scopeway.xds.grpc_server.server.MAX_UNACCEPTED_SECONDS", seconds)
    code = "import sys; sys.path[:0] = sys.argv[2:]; import crowd_client; crowd_client.main()"
    async with serve(store, listen="127.0.0.1:0") as server:
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", code, str(server.port), *sys.path),
            stdout=asyncio.subprocess.PIPE,
        )
        assert client.stdout is not None
        assert await client.stdout.readline() == b"connected\n"
        time.sleep(1.5)  # noqa: ASYNC251 - the loop is busy, that is the point
        answers, _ = await client.communicate()

    codes = answers.decode().split()
    assert len(codes) == 3
    assert (codes.count("OK") == 3) is served
    assert served or codes.count("CANCELLED") == 2
