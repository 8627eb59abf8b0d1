"""What gRPC alone costs: a bare `grpc.aio` server that writes given bytes to its streams.

Each stream is one task that reads. `Floor.push` writes to some streams at once, as a control plane
pushes a change; what the clients say to it is read and thrown away.
"""

import asyncio
import multiprocessing
import os
from multiprocessing.connection import Connection
from typing import Any

import grpc

from scopeway.control_plane.runtime import gc_tuning

SERVICE, NAME = "bench.Floor", "Push"
METHOD = f"/{SERVICE}/{NAME}"


class Floor:
    """The bench's end: a process with the server."""

    def __init__(self, *, our_malloc: bool = False) -> None:
        """Start it, perhaps with the control plane's settings of malloc."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=_run, args=(theirs, our_malloc), name="floor", daemon=True
        )
        self._process.start()
        theirs.close()
        self.address: tuple[str, int] = ("127.0.0.1", self._pipe.recv())

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process.pid is not None
        return self._process.pid

    def await_streams(self, count: int) -> None:
        """Wait until so many streams have sent something."""
        self._pipe.send(count)
        self._pipe.recv()

    def push(self, data: bytes, count: int) -> None:
        """Write to the first `count` streams; does not wait."""
        self._pipe.send((data, count))

    def __enter__(self) -> "Floor":
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join(10)
        self._process.kill()


class _Server:
    def __init__(self) -> None:
        self.streams: list[Any] = []
        self._more = asyncio.Condition()

    async def count(self, count: int) -> None:
        async with self._more:
            await self._more.wait_for(lambda: len(self.streams) >= count)

    async def push(self, _requests: object, context: Any) -> None:
        await context.send_initial_metadata(())
        await context.read()
        async with self._more:
            self.streams.append(context)
            self._more.notify()
        while await context.read() is not grpc.aio.EOF:
            pass


async def _serve(pipe: Connection) -> None:
    streams = _Server()
    handler = grpc.stream_stream_rpc_method_handler(streams.push)
    server = grpc.aio.server(
        handlers=[grpc.method_handlers_generic_handler(SERVICE, {NAME: handler})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    pipe.send(port)
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_reader(pipe.fileno(), asked.set)
    while True:
        await asked.wait()
        asked.clear()
        while pipe.poll():
            what = pipe.recv()
            if what is None:
                await server.stop(0)
                return
            if isinstance(what, int):
                await streams.count(what)
                pipe.send(None)
            else:
                data, count = what
                await asyncio.gather(*(each.write(data) for each in streams.streams[:count]))


def _run(pipe: Connection, our_malloc: bool) -> None:
    if our_malloc:
        gc_tuning.map_large_blocks_separately()
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # gRPC prints the end of each stream
    asyncio.run(_serve(pipe))
