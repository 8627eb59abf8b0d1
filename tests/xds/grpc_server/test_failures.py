"""Failures of gRPC itself, and how streams handle them."""

import asyncio
import collections
import logging
import threading
import time
from typing import Any

import grpc
import grpc.aio
import pytest

from scopeway.xds.events import StreamClosed
from scopeway.xds.grpc_server.server import Server, serve
from scopeway.xds.limits import Limits
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.type_urls import CLUSTER
from xds_client import GUARD, METHOD, Recorder
from xds_model import Store, write_request

pytestmark = pytest.mark.asyncio

CALLS = 1500
"""Above 1000, gRPC begins to cancel calls that Python has not taken; half of them above 2000."""


@pytest.fixture
def store() -> Store:
    return Store(texts={(CLUSTER, "a"): "1"})


async def test_a_busy_server_loses_no_call_of_a_burst(store: Store) -> None:
    """If the server sent nothing, they would end with CANCELLED."""
    limits = Limits(streams_per_connection=2 * CALLS, connects_burst=2 * CALLS)
    request = write_request(CLUSTER, node=("site/1", "site"), subscribe=["a"])
    outcomes: collections.Counter[str] = collections.Counter()
    sent = threading.Event()

    def client(port: int) -> None:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            calls = [channel.unary_stream(METHOD)(request, timeout=3 * GUARD) for _ in range(CALLS)]
            sent.set()
            for call in calls:
                try:
                    outcomes[f"{len(list(call))} answers"] += 1
                except grpc.RpcError as error:
                    outcomes[f"{error.code()} {error.details()}"] += 1

    async with serve(store, listen="127.0.0.1:0", limits=limits) as server:
        thread = threading.Thread(target=client, args=(server.port,))
        thread.start()
        sent.wait(GUARD)
        time.sleep(1)  # noqa: ASYNC251 — the server's loop does other things, while all calls arrive
        await asyncio.to_thread(thread.join)

    assert outcomes == {"1 answers": CALLS}


class FailingContext:
    """A call whose writes fail although nobody has cancelled it."""

    def __init__(self) -> None:
        self.requests = [write_request(CLUSTER, node=("site/1", "site"), subscribe=["a"])]
        self.aborted: tuple[grpc.StatusCode, str] | None = None

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def send_initial_metadata(self, metadata: object) -> None: ...

    async def read(self) -> bytes:
        if not self.requests:
            await asyncio.Event().wait()
        return self.requests.pop()

    async def write(self, data: bytes) -> None:
        raise grpc.aio.InternalError("batch failed")

    async def abort(self, code: grpc.StatusCode, details: str) -> None:
        self.aborted = code, details


async def test_a_failure_of_grpc_is_named_in_the_log_and_to_the_client(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    recorder, context = Recorder(), FailingContext()
    server = Server(store, ChangeNotifier(), recorder, Limits(), None)
    details: Any = type("Details", (), {"method": METHOD, "invocation_metadata": ()})
    (handler,) = (found for each in server._handlers() if (found := each.service(details)))
    with caplog.at_level(logging.INFO):
        await handler.stream_stream(None, context)

    assert context.aborted == (grpc.StatusCode.UNAVAILABLE, "gRPC failed: batch failed")
    assert caplog.messages == ["gRPC call failed, ending the stream: node site/1: batch failed"]
    assert recorder.events[-1] == StreamClosed("UNAVAILABLE")
