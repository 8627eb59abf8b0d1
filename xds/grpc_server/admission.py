"""Where new streams come in: lets them in at a rate, holds or refuses a crowd, and says so.

With `xds.grpc_server.server`, whose part it is, it does I/O; the rules are
`xds.grpc_server.connect_rate`'s.
"""

import asyncio
import logging
import math
from typing import Any, Final

import grpc
import grpc.aio

from scopeway.xds.events import CrowdEvent, Observer, StreamHeld, StreamRefused
from scopeway.xds.grpc_server.connect_rate import Door, Enter, Refuse
from scopeway.xds.limits import Limits

_log = logging.getLogger("scopeway.xds")

CROWD_SECONDS: Final = 5.0
"""A crowd is told of in one line for so long a time."""


class Entrance:
    """The entrance of one server."""

    def __init__(self, limits: Limits, observer: Observer | None) -> None:
        self._door = Door(
            rate=limits.connects_per_second, burst=limits.connects_burst, wait=limits.connect_wait
        )
        self._observer = observer
        self._crowd = Crowd()

    async def admit(
        self, context: "grpc.aio.ServicerContext[Any, Any]", own: Door | None = None
    ) -> float:
        """Return the seconds until it is a new stream's turn; before, nothing of it is to be read.

        `own`: where its client's streams come in; who is refused there takes no turn of others.

        Raises:
            grpc.aio.AbortError: it is refused, and its client has been told.
        """
        now = asyncio.get_running_loop().time()
        first = Enter(0.0) if own is None else own.knock(now)
        entry = first if isinstance(first, Refuse) else self._door.knock(now)
        if isinstance(entry, Refuse):
            self._note(StreamRefused(entry.retry_after))
            # gRPC's clients heed it only where no header came before
            hint = ("grpc-retry-pushback-ms", str(math.ceil(entry.retry_after * 1000)))
            text = "too many new streams at once: come again later"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text, (hint,))
            raise AssertionError("abort has returned")  # its types don't say that it can't
        assert isinstance(first, Enter)
        after = max(first.after, entry.after)
        if after:
            self._note(StreamHeld(after))
        return after

    def close(self) -> None:
        """Log what was not logged yet."""
        self._crowd.tell()

    def _note(self, event: CrowdEvent) -> None:
        self._crowd.note(event)
        if self._observer is not None:
            self._observer.observe(None, event)


class Crowd:
    """Says how many new streams had to wait or were refused, in few lines."""

    def __init__(self) -> None:
        self._held = self._refused = 0
        self._longest = 0.0
        self._due: asyncio.TimerHandle | None = None

    def note(self, event: CrowdEvent) -> None:
        """Count; the line comes when the time is over."""
        if isinstance(event, StreamHeld):
            self._held += 1
            self._longest = max(self._longest, event.seconds)
        else:
            self._refused += 1
        if self._due is None:
            self._due = asyncio.get_running_loop().call_later(CROWD_SECONDS, self.tell)

    def tell(self) -> None:
        """Log what was not told yet."""
        if self._due is None:
            return
        self._due.cancel()
        _log.warning(
            "new streams came too fast: %d waited for their turn, up to %.1f s, %d were refused",
            self._held,
            self._longest,
            self._refused,
        )
        self._held = self._refused = 0
        self._longest, self._due = 0.0, None
