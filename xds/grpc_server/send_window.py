"""How many bytes of responses may be on their way to one client at a time.

gRPC keeps a response, with a copy of it, until the client has taken it, and a client may have many
streams that take nothing. What waits here is not joined yet: it is shared by all streams.
"""

import asyncio


class SendWindow:
    """The responses of one client that gRPC has and the client has not."""

    __slots__ = ("_bytes", "_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        """Let `limit` bytes be on their way, or one response that is larger."""
        self._bytes = 0
        self._limit = limit
        self._waiting: list[tuple[int, asyncio.Future[None]]] | None = None

    async def acquire(self, size: int) -> None:
        """Wait until a response may be sent; `release` has to follow."""
        while not self._fits(size):
            room = asyncio.get_running_loop().create_future()
            self._waiting = self._waiting or []
            entry = size, room
            self._waiting.append(entry)
            try:
                await room
            finally:
                self._waiting.remove(entry)
                self._wake_next()  # also where this one is not sent after all
        self._bytes += size

    def release(self, size: int) -> None:
        """A response was taken, or given up."""
        self._bytes -= size
        self._wake_next()

    def _fits(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._limit

    def _wake_next(self) -> None:
        """Wake the first that fits; it wakes the next one."""
        for size, room in self._waiting or ():
            if self._fits(size):
                if not room.done():
                    room.set_result(None)
                return
