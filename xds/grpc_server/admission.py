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

from scopeway.xds.events import AdmissionEvent, Observer, StreamDelayed, StreamRefused
from scopeway.xds.grpc_server.connect_rate import Admitted, ConnectRateLimiter, Refused
from scopeway.xds.limits import Limits

_logger = logging.getLogger("scopeway.xds")

LOG_INTERVAL: Final = 5.0
"""A crowd is told of in one line for so long a time."""


class Admission:
    """The entrance of one server."""

    def __init__(self, limits: Limits, observer: Observer | None) -> None:
        self._connect_limiter = ConnectRateLimiter(
            rate=limits.connects_per_second, burst=limits.connects_burst, wait=limits.connect_wait
        )
        self._observer = observer
        self._log = AdmissionLog()

    async def admit(
        self,
        context: "grpc.aio.ServicerContext[Any, Any]",
        client_limiter: ConnectRateLimiter | None = None,
    ) -> float:
        """Return the seconds until it is a new stream's turn; before, nothing of it is to be read.

        `client_limiter`: the limiter of this client alone. A stream that it refuses does not count
        against the limit of all clients.

        Raises:
            grpc.aio.AbortError: it is refused, and its client has been told.
        """
        now = asyncio.get_running_loop().time()
        own_decision = Admitted(0.0) if client_limiter is None else client_limiter.admit(now)
        decision = (
            own_decision if isinstance(own_decision, Refused) else self._connect_limiter.admit(now)
        )
        if isinstance(decision, Refused):
            self._record(StreamRefused(decision.retry_after))
            # gRPC's clients heed it only where no header came before
            hint = ("grpc-retry-pushback-ms", str(math.ceil(decision.retry_after * 1000)))
            text = "too many new streams at once: come again later"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text, (hint,))
            raise AssertionError("abort has returned")  # its types don't say that it can't
        assert isinstance(own_decision, Admitted)
        delay = max(own_decision.delay, decision.delay)
        if delay:
            self._record(StreamDelayed(delay))
        return delay

    def close(self) -> None:
        """Log what was not logged yet."""
        self._log.flush()

    def _record(self, event: AdmissionEvent) -> None:
        self._log.record(event)
        if self._observer is not None:
            self._observer.observe(None, event)


class AdmissionLog:
    """Says how many new streams had to wait or were refused, in few lines."""

    def __init__(self) -> None:
        self._delayed = self._refused = 0
        self._longest_delay = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None

    def record(self, event: AdmissionEvent) -> None:
        """Count; the line comes when the time is over."""
        if isinstance(event, StreamDelayed):
            self._delayed += 1
            self._longest_delay = max(self._longest_delay, event.seconds)
        else:
            self._refused += 1
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self.flush)

    def flush(self) -> None:
        """Log what was not told yet."""
        if self._flush_timer is None:
            return
        self._flush_timer.cancel()
        _logger.warning(
            "new streams came too fast: %d waited for their turn, up to %.1f s, %d were refused",
            self._delayed,
            self._longest_delay,
            self._refused,
        )
        self._delayed = self._refused = 0
        self._longest_delay, self._flush_timer = 0.0, None
