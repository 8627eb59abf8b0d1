"""A client of a real server on loopback, and an observer that can be waited for."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from scopeway.xds.events import Event
from scopeway.xds.grpc_server.server import Server
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER
from xds_model import Received, read_response, write_request

METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
GUARD = 30.0
"""Seconds until a test that waits for something that never comes is given up."""


class Recorder:
    """An observer that can be waited for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    def observe(self, node: Node | None, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(GUARD):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def seen(self, kind: type[Event], times: int = 1) -> list[Any]:
        await self.until(lambda: len(self.of(kind)) >= times)
        return self.of(kind)


class Client:
    """One delta stream of a client."""

    def __init__(self, call: grpc.aio.StreamStreamCall[bytes, bytes], node: str) -> None:
        self.call = call
        self._node: tuple[str, str] | None = (node, node.partition("/")[0])

    async def send(self, type_url: str = CLUSTER, **fields: Any) -> None:
        node, self._node = self._node, None
        await self.call.write(write_request(type_url, node=node, **fields))

    async def receive(self) -> Received:
        async with asyncio.timeout(GUARD):
            data = await self.call.read()
        assert data is not grpc.aio.EOF, await self.call.details()
        return read_response(data)

    async def take(self) -> Received:
        """Receive a response and acknowledge it."""
        response = await self.receive()
        await self.send(response.type_url, nonce=response.nonce)
        return response

    async def ended(self) -> tuple[grpc.StatusCode, str]:
        async with asyncio.timeout(GUARD):
            return await self.call.code(), await self.call.details()


@asynccontextmanager
async def connect(server: Server, node: str = "site/1", **options: int) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{server.port}", options=[(f"grpc.{key}", v) for key, v in options.items()]
    ) as channel:
        yield Client(channel.stream_stream(METHOD)(), node)
