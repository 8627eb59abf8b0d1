"""Which client heeds which hint when to come back: python tests/bench/bench_retry_hints.py.

A server refuses each stream with a status and a hint of HINT seconds; printed are the pauses of a
client until it opens the next ones. Real Envoy, grpcio's `xds:///` client, and a gRPC client whose
service config has a `retryPolicy` that lists both statuses, with a back-off of minutes.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import fixtures  # noqa: F401 - puts the harness on the path
import grpc
import grpc.aio
import report

from harness.envoy import Envoy, xds_cluster
from scopeway.xds.encoding import protobuf as wire

HINT: Final = 4
SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
DELTA, SOTW = "DeltaAggregatedResources", "StreamAggregatedResources"
GUARD = 60.0
"""Seconds after which no more pauses are waited for."""

STATUSES = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
RETRY_INFO: Final = "type.googleapis.com/google.rpc.RetryInfo"
CALLER = """
import grpc
with grpc.insecure_channel("xds:///echo.test") as channel:
    channel.unary_unary("/echo.Echo/Say")(b"", timeout=600, wait_for_ready=True)
"""

Metadata = tuple[tuple[str, str | bytes], ...]
Client = Callable[[int, Path], AbstractAsyncContextManager[None]]


def hints(status: grpc.StatusCode) -> Mapping[str, Metadata]:
    """Return what the trailers of a refusal may say, by its name."""
    delay = wire.field_bytes(1, wire.field_varint(1, HINT))
    details = wire.field_varint(1, status.value[0]) + wire.field_string(2, "later")
    details += wire.field_bytes(3, wire.any_message(RETRY_INFO, delay))
    return {
        "no hint": (),
        "grpc-retry-pushback-ms": (("grpc-retry-pushback-ms", str(HINT * 1000)),),
        "RetryInfo": (("grpc-status-details-bin", details),),
        "retry-after": (("retry-after", str(HINT)),),
    }


@asynccontextmanager
async def envoy(port: int, folder: Path) -> AsyncIterator[None]:
    """Run an Envoy that wants clusters."""
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    bootstrap = {
        "node": {"id": "site/1", "cluster": "site"},
        "dynamic_resources": {
            "ads_config": ads,
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [xds_cluster(port)]},
    }
    started = await asyncio.to_thread(Envoy, bootstrap, folder)
    try:
        yield
    finally:
        await asyncio.to_thread(started.kill)


@asynccontextmanager
async def xds_client(port: int, folder: Path) -> AsyncIterator[None]:
    """Let grpcio resolve an `xds:///` name, in a process of its own."""
    server = {
        "server_uri": f"127.0.0.1:{port}",
        "channel_creds": [{"type": "insecure"}],
        "server_features": ["xds_v3"],
    }
    bootstrap = folder / "bootstrap.json"
    node = {"id": "site/1", "cluster": "site"}
    bootstrap.write_text(json.dumps({"xds_servers": [server], "node": node}))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", CALLER),
        env={**os.environ, "GRPC_XDS_BOOTSTRAP": str(bootstrap)},
        stderr=asyncio.subprocess.DEVNULL,  # gRPC logs every refusal
    )
    try:
        yield
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def retrying(port: int, folder: Path) -> AsyncIterator[None]:
    """Open a stream by a channel whose service config says that it is to be opened again."""
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "900s",
        "maxBackoff": "900s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": [status.name for status in STATUSES],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    options = [("grpc.service_config", config)]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=options) as channel:
        call = channel.stream_stream(f"/{SERVICE}/{DELTA}")()
        try:
            yield
        finally:
            call.cancel()


async def pauses(
    client: Client, status: grpc.StatusCode, hint: Metadata, count: int, seconds: float
) -> list[float]:
    """Return the first seconds between one refused stream and the next one, at most `count`."""
    loop = asyncio.get_running_loop()
    came: list[float] = []
    enough = asyncio.Event()

    async def refuse(_requests: object, context: Any) -> None:
        came.append(loop.time())
        if len(came) > count:
            enough.set()
        await context.abort(status, "later", hint)

    server = grpc.aio.server()
    handler = grpc.stream_stream_rpc_method_handler(refuse)
    methods = {DELTA: handler, SOTW: handler}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        with TemporaryDirectory(prefix="scopeway-bench-") as folder:
            async with client(port, Path(folder)):
                try:
                    async with asyncio.timeout(seconds):
                        await enough.wait()
                except TimeoutError:
                    pass
    finally:
        await server.stop(None)
    return [later - earlier for earlier, later in pairwise(came)][:count]


async def main() -> None:
    for name, client, count, seconds in (
        ("Envoy", envoy, 6, GUARD),
        ("grpcio, xds:///", xds_client, 4, GUARD),
        ("grpcio, retryPolicy", retrying, 2, 3 * HINT),
    ):
        for status in STATUSES:
            given = hints(status)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(pauses(client, status, hint, count, seconds))
                    for hint in given.values()
                ]
            for hint, task in zip(given, tasks, strict=True):
                report.series(f"{name}, {status.name}, {hint}", task.result(), "s")


if __name__ == "__main__":
    asyncio.run(main())
