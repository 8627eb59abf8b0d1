"""The server, with a real gRPC client on loopback."""

import asyncio
import gc
import weakref
from collections.abc import Callable
from contextlib import AsyncExitStack

import grpc
import grpc.aio
import pytest

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.errors import ListenError
from scopeway.xds.events import (
    Acked,
    LookupFailed,
    Nacked,
    NamesSkipped,
    Sent,
    SlowClient,
    StreamClosed,
    StreamOpened,
)
from scopeway.xds.grpc_server.server import Server, serve
from scopeway.xds.limits import Limits
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.protocol.session import Response
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, LISTENER
from xds_client import GUARD, METHOD, Client, Recorder, connect
from xds_model import Store, View, write_request

pytestmark = pytest.mark.asyncio


@pytest.fixture
def store() -> Store:
    return Store(texts={(CLUSTER, "a"): "1", (CLUSTER, "b"): "1", (LISTENER, "l"): "1"})


def changer(server: Server, store: Store) -> Callable[[str, str], None]:
    def change(name: str, text: str) -> None:
        store.texts[CLUSTER, name] = text
        server.notifier.resources_changed(CLUSTER, [name])

    return change


async def test_a_request_gets_a_response_and_a_change_is_pushed(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=["a"])
        assert (await client.take()).texts == {"a": "1"}
        await recorder.seen(Acked)

        changer(server, store)("a", "2")
        response = await client.take()

    assert response.texts == {"a": "2"}
    sent = await recorder.seen(Sent, 2)
    assert (sent[0].type_url, sent[0].resources, sent[0].removed) == (CLUSTER, 1, 0)
    assert sent[0].size > 0


async def test_a_failed_lookup_is_repeated_without_a_notification(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as client,
    ):
        store.failing = {"a"}
        await client.send(subscribe=["a"])
        await recorder.seen(LookupFailed)
        store.failing = set()

        assert (await client.take()).texts == {"a": "1"}


async def test_changes_of_one_turn_of_the_event_loop_are_one_response(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=["a", "b"])
        await client.take()
        await recorder.seen(Acked)

        change = changer(server, store)
        change("a", "2")
        change("b", "2")
        change("a", "3")
        assert (await client.take()).texts == {"a": "3", "b": "2"}


async def test_a_returning_client_is_sent_only_changed_resources(store: Store) -> None:
    async with serve(store, listen="127.0.0.1:0") as server:
        async with connect(server) as client:
            await client.send(subscribe=["a", "b"])
            versions = (await client.take()).versions

        changer(server, store)("b", "2")
        async with connect(server) as client:
            await client.send(subscribe=["a", "b"], versions=versions)
            assert (await client.take()).texts == {"b": "2"}


async def test_two_streams_of_one_node_are_independent(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as one,
        connect(server) as two,
    ):
        for client in (one, two):
            await client.send(subscribe=["a"])
            await client.take()
        await recorder.seen(Acked, 2)
        assert [each.node.id for each in server.status()] == ["site/1", "site/1"]

        changer(server, store)("a", "2")
        assert (await one.take()).texts == (await two.take()).texts == {"a": "2"}
        one.call.cancel()
        await recorder.seen(StreamClosed)
        await recorder.seen(Acked, 4)
        changer(server, store)("a", "3")
        assert (await two.take()).texts == {"a": "3"}


async def test_a_stream_that_ends_frees_its_resources(store: Store) -> None:
    recorder = Recorder()
    async with serve(store, listen="127.0.0.1:0", observer=recorder) as server:
        async with connect(server) as client:
            await client.send(subscribe=["a"])
            await client.take()
            await client.call.done_writing()
            assert await client.ended() == (grpc.StatusCode.OK, "")
        (closed,) = await recorder.seen(StreamClosed)

        assert closed == StreamClosed("OK")
        assert len(server.notifier) == 0
        assert server.status() == []
        assert [view.closed for view in store.views] == [True]


async def test_a_client_that_leaves_during_a_push_leaves_no_state(store: Store) -> None:
    store.texts[CLUSTER, "big"] = "x" * (8 << 20)
    recorder = Recorder()
    async with serve(store, listen="127.0.0.1:0", observer=recorder) as server:
        async with connect(server) as client:
            await client.send(subscribe=["big"])
            await recorder.seen(StreamOpened)
            client.call.cancel()
        await recorder.seen(StreamClosed)

        assert len(server.notifier) == 0
        assert [view.closed for view in store.views] == [True]


@pytest.mark.parametrize(
    ("request_bytes", "details"),
    [
        (write_request(CLUSTER), "the first request of the stream names no node"),
        (write_request("", node=("site/1", "site")), "malformed .* no type_url"),
        (b"\xff\xff\xff", "malformed DeltaDiscoveryRequest"),
    ],
    ids=["no node", "no type", "no message"],
)
async def test_a_bad_request_ends_its_own_stream_only(
    store: Store, request_bytes: bytes, details: str
) -> None:
    async with (
        serve(store, listen="127.0.0.1:0") as server,
        connect(server) as good,
        connect(server) as bad,
    ):
        await good.send(subscribe=["a"])
        await good.take()
        await bad.call.write(request_bytes)
        code, text = await bad.ended()
        await good.send(subscribe=["b"])

        assert code is grpc.StatusCode.INVALID_ARGUMENT
        assert (await good.take()).texts == {"b": "1"}
        assert text.startswith("malformed") or text == details


async def test_a_node_that_the_source_refuses_gets_its_status(store: Store) -> None:
    store.refused.add("site/1")
    async with serve(store, listen="127.0.0.1:0") as server, connect(server) as client:
        await client.send(subscribe=["a"])

        assert await client.ended() == (
            grpc.StatusCode.PERMISSION_DENIED,
            "node site/1 is not known here",
        )


async def test_an_error_of_the_source_is_not_shown_to_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(Store):
        def attach(self, node: Node) -> View:
            raise KeyError("secret")

    async with serve(Broken(), listen="127.0.0.1:0") as server, connect(server) as client:
        await client.send(subscribe=["a"])

        assert await client.ended() == (grpc.StatusCode.INTERNAL, "internal error")
    assert "secret" in caplog.text


async def test_problems_are_logged_and_reported_to_the_observer(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    store.failing.add("broken")
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=["a", b"\xff", "broken"])
        response = await client.receive()
        await client.send(nonce=response.nonce, error="a is bad")
        await recorder.seen(Nacked)

    assert await recorder.seen(NamesSkipped) == [NamesSkipped(CLUSTER, 1)]
    assert "a is bad" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_only_the_client_that_reads_nothing_loses_its_stream(
    store: Store,
) -> None:
    store.texts[CLUSTER, "big"] = "x" * (16 << 20)
    recorder = Recorder()
    # long enough for the other one on a busy machine
    limits = Limits(send_timeout=2, drain_timeout=0.5)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server) as slow,
        connect(server) as other,
    ):
        await slow.send(subscribe=["big"])
        await other.send(subscribe=["a"])
        await other.take()
        assert await recorder.seen(SlowClient) == [SlowClient(CLUSTER)]
        assert await recorder.seen(StreamClosed) == [StreamClosed("RESOURCE_EXHAUSTED")]

        changer(server, store)("a", "2")
        assert (await other.take()).texts == {"a": "2"}
        assert len(server.notifier) == 1


async def test_few_responses_are_copied_for_a_client_that_reads_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of its streams. Small responses, and other clients, are not affected."""
    store.texts[CLUSTER, "big"] = "x" * (16 << 20)
    recorder = Recorder()
    copies = 0
    at_once: list[int] = []
    join = Response.data.fget
    assert join is not None

    def counted(response: Response) -> bytes:
        nonlocal copies
        if response.size > 16 << 20:
            copies += 1
            at_once.append(copies - len(recorder.of(SlowClient)))
        data: bytes = join(response)
        return data

    monkeypatch.setattr(Response, "data", property(counted))
    limits = Limits(unsent_bytes=40 << 20, send_timeout=0.3, drain_timeout=0.5)
    async with AsyncExitStack() as stack:

        async def client(node: str) -> Client:
            connected = connect(server, node, use_local_subchannel_pool=1)
            return await stack.enter_async_context(connected)

        serving = serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits)
        server = await stack.enter_async_context(serving)
        for number in range(6):
            await (await client(f"site/{number}")).send(subscribe=["big"])
        await recorder.seen(StreamOpened, 6)
        for node in ("site/7", "other/1"):
            honest = await client(node)
            await honest.send(subscribe=["a"])
            await honest.take()
        await recorder.seen(SlowClient, 6)

    assert (copies, max(at_once)) == (6, 2)


async def test_a_slow_client_gets_the_reason(store: Store) -> None:
    store.texts[CLUSTER, "big"] = "x" * (16 << 20)
    recorder = Recorder()
    limits = Limits(send_timeout=0.2)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server, max_receive_message_length=-1) as client,
    ):
        await client.send(subscribe=["big"])
        await recorder.seen(StreamClosed)
        await client.receive()

        assert await client.ended() == (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "the client did not read a response within 0.2 s",
        )


async def test_a_stream_that_has_ended_is_freed_without_garbage_collection(store: Store) -> None:
    gc.disable()
    try:
        async with serve(store, listen="127.0.0.1:0") as server, asyncio.timeout(GUARD):
            async with connect(server) as client:
                await client.send(subscribe=["a"])
                await client.take()
                changer(server, store)("a", "2")
                await client.take()
                freed = asyncio.Event()
                weakref.finalize(next(server.sessions()), freed.set)
            await freed.wait()
    finally:
        gc.enable()


async def test_an_idle_stream_keeps_no_task_for_changes(store: Store) -> None:
    def pushing() -> list[asyncio.Task[object]]:
        return [task for task in asyncio.all_tasks() if task.get_name() == "xds push"]

    async with (
        serve(store, listen="127.0.0.1:0") as server,
        connect(server) as client,
        asyncio.timeout(GUARD),
    ):
        await client.send(subscribe=["a"])
        await client.take()
        assert pushing() == []

        changer(server, store)("a", "2")
        (push,) = pushing()
        await client.take()
        await push


async def test_stopping_ends_the_streams(store: Store) -> None:
    recorder = Recorder()
    async with asyncio.timeout(GUARD):
        async with serve(store, listen="127.0.0.1:0", observer=recorder) as server:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
            client = Client(channel.stream_stream(METHOD)(), "site/1")
            await client.send(subscribe=["a"])
            await client.take()
        status = await client.ended()
        await channel.close()

    assert status == (grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
    assert await recorder.seen(StreamClosed) == [StreamClosed("UNAVAILABLE")]
    assert [view.closed for view in store.views] == [True]


async def test_stopping_does_not_wait_for_a_client_that_reads_nothing(store: Store) -> None:
    store.texts[CLUSTER, "big"] = "x" * (16 << 20)
    recorder = Recorder()
    async with asyncio.timeout(GUARD):
        limits = Limits(drain_timeout=0.2)
        async with serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server:
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{server.port}")
            client = Client(channel.stream_stream(METHOD)(), "site/1")
            await client.send(subscribe=["big"])
            await recorder.seen(StreamOpened)
        await channel.close()


async def test_a_request_of_several_megabytes_is_accepted(store: Store) -> None:
    names = [f"{number:05}" + "x" * 1000 for number in range(6000)]
    async with serve(store, listen="127.0.0.1:0") as server, connect(server) as client:
        await client.send(subscribe=["a"], unsubscribe=names)

        assert (await client.take()).texts == {"a": "1"}


async def test_a_used_port_is_refused_with_the_address(store: Store) -> None:
    async with serve(store, listen="127.0.0.1:0") as server:
        with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{server.port}: in use"):
            async with serve(store, listen=f"127.0.0.1:{server.port}"):
                pass


async def test_a_source_may_bring_its_own_notifier(store: Store) -> None:
    notifier = ChangeNotifier()
    async with serve(store, listen="127.0.0.1:0", notifier=notifier) as server:
        assert server.notifier is notifier


async def test_status_shows_every_stream(store: Store) -> None:
    recorder = Recorder()
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder) as server,
        connect(server, "site/1") as client,
    ):
        await client.send(subscribe=["a"])
        await client.take()
        await recorder.seen(Acked)
        (status,) = server.status()

    assert status.node.id == "site/1"
    assert "127.0.0.1" in status.peer
    assert 0 <= asyncio.get_running_loop().time() - status.since < 60
    assert [
        (each.type_url, each.subscribed, each.acked, each.in_flight) for each in status.types
    ] == [(CLUSTER, 1, 1, 0)]


async def test_a_stream_without_a_first_request_is_ended(store: Store) -> None:
    recorder = Recorder()
    limits = Limits(first_request_timeout=0.2)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server) as silent,
        connect(server) as other,
    ):
        await other.send(subscribe=["a"])
        await other.take()

        code, details = await silent.ended()
        assert (code, details) == (
            grpc.StatusCode.DEADLINE_EXCEEDED,
            "no request within 0.2 s",
        )
        changer(server, store)("a", "2")
        assert (await other.take()).texts == {"a": "2"}


async def test_new_names_above_the_rate_delay_only_their_own_stream(store: Store) -> None:
    """Four names are free; the fifth waits for a second."""
    limits = Limits(names_burst=4, names_per_second=1)
    loop = asyncio.get_running_loop()
    async with (
        serve(store, listen="127.0.0.1:0", limits=limits) as server,
        connect(server) as greedy,
        connect(server) as other,
    ):
        await greedy.send(subscribe=["a", "w", "x", "y", "z"])
        await greedy.take()
        began = loop.time()
        await greedy.send(subscribe=["b"])
        await other.send(subscribe=["a"])
        assert (await other.take()).texts == {"a": "1"}
        assert (await greedy.take()).texts == {"b": "1"}

    assert loop.time() - began > 0.9


async def test_large_sotw_requests_are_delayed_too(store: Store) -> None:
    """They repeat all names, so their size counts: four KiB, where three are free."""
    limits = Limits(names_burst=3, names_per_second=1)
    loop = asyncio.get_running_loop()

    def request(*names: str) -> bytes:
        listed = (wire.field_string(3, name) for name in names)
        return b"".join((*listed, wire.field_string(4, CLUSTER)))

    async with (
        serve(store, listen="127.0.0.1:0", limits=limits) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
        asyncio.timeout(GUARD),
    ):
        call = channel.stream_stream(METHOD.replace("/Delta", "/Stream"))()
        node = wire.field_bytes(2, wire.field_string(1, "site/1") + wire.field_string(2, "site"))
        await call.write(node + request("a", "x" * 4000, "y" * 200))
        first = await call.read()
        (nonce,) = (first[start:end] for number, start, end in wire.fields(first) if number == 5)
        began = loop.time()
        await call.write(request("b") + wire.field_bytes(5, nonce))
        await call.read()

    assert loop.time() - began > 0.9


async def test_each_stream_has_the_limits_of_the_server(store: Store) -> None:
    store.texts[CLUSTER, "long"] = "1"
    recorder = Recorder()
    limits = Limits(names=2, name_bytes=3, response_bytes=1)
    async with (
        serve(store, listen="127.0.0.1:0", observer=recorder, limits=limits) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=["a", "long", "b", "c"])
        answers = [(await client.take()).texts for _ in range(2)]
        (skipped,) = await recorder.seen(NamesSkipped)

    assert answers == [{"a": "1"}, {"b": "1"}]
    assert skipped == NamesSkipped(CLUSTER, 2)


@pytest.mark.parametrize(("last", "status"), [("b", None), ("bb", "RESOURCE_EXHAUSTED")])
async def test_a_request_has_a_limited_size(store: Store, last: str, status: str | None) -> None:
    names = [f"{number:04}" for number in range(100)]
    largest = len(write_request(CLUSTER, node=("site/1", "site"), subscribe=[*names, "b"]))
    limits = Limits(request_bytes=largest)
    async with (
        serve(store, listen="127.0.0.1:0", limits=limits) as server,
        connect(server) as client,
    ):
        await client.send(subscribe=[*names, last])
        if status is None:
            assert (await client.receive()).texts == {"b": "1"}
        else:
            code, _ = await client.ended()
            assert code.name == status
