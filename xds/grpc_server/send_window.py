"""The bytes of responses that may be on their way to one client at a time.

gRPC keeps a response and a copy of it until the client has read it, and a client may have many
streams that read nothing. A response that waits here costs little: its parts are not joined yet,
and all streams share them.
"""

import asyncio


class SendWindow:
    """Limits the bytes that were handed to gRPC and not read by one client."""

    __slots__ = ("_bytes", "_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        """Allow `limit` bytes, or a single response that is larger."""
        self._bytes = 0
        self._limit = limit
        self._waiting: list[tuple[int, asyncio.Future[None]]] | None = None

    async def acquire(self, size: int) -> None:
        """Wait until a response may be sent. The caller must call `release` afterwards."""
        while not self._fits(size):
            room = asyncio.get_running_loop().create_future()
            self._waiting = self._waiting or []
            entry = size, room
            self._waiting.append(entry)
            try:
                await room
            finally:
                self._waiting.remove(entry)
                self._wake_next()  # also if this one was cancelled
        self._bytes += size

    def release(self, size: int) -> None:
        """Free the bytes of a response that was sent or given up."""
        self._bytes -= size
        self._wake_next()

    def _fits(self, size: int) -> bool:
        return not self._bytes or self._bytes + size <= self._limit

    def _wake_next(self) -> None:
        """Wake the first response that fits; it wakes the next one."""
        for size, room in self._waiting or ():
            if self._fits(size):
                if not room.done():
                    room.set_result(None)
                return
