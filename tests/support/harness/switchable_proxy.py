"""An address that leads to one of several servers, and to another one when a test says so."""

import asyncio
from contextlib import suppress

from harness.background import Background


class Switch:
    """Passes on what comes to its port, over TCP."""

    def __init__(self, background: Background, to: int) -> None:
        self.port: int
        self._to = to
        self._background = background
        self._passing: set[asyncio.Task[None]] = set()
        self._server = background.run(self._listen())
        self.port = self._server.sockets[0].getsockname()[1]

    def turn(self, to: int) -> None:
        """Lead to another port from now on, and end the connections to the one before."""
        self._to = to
        self._background.call(self._end)

    def close(self) -> None:
        self._background.call(self._server.close)
        self._background.call(self._end)

    def _end(self) -> None:
        for each in self._passing:
            each.cancel()

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._pass_on, "127.0.0.1", 0)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passing = asyncio.current_task()
        assert passing is not None
        self._passing.add(passing)
        others = []
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
            others.append(back)
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._passing.discard(passing)
            for each in (writer, *others):
                each.transport.abort()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    raise ConnectionAbortedError  # one half alone is of no use
