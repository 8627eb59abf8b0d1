"""Admission of new streams: limits their rate, delays or refuses the excess, and logs it.

The rules are in `xds.grpc_server.connect_rate`.
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
"""Seconds that one log line sums up."""


class Admission:
    """The admission of streams to one server."""

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
        """Return the seconds that a new stream must wait before its first request is read.

        `client_limiter`: the limiter of this client alone. A stream that it refuses does not count
        against the limit of all clients.

        Raises:
            grpc.aio.AbortError: the stream is refused; the call has been aborted.
        """
        now = asyncio.get_running_loop().time()
        own_decision = Admitted(0.0) if client_limiter is None else client_limiter.admit(now)
        decision = (
            own_decision if isinstance(own_decision, Refused) else self._connect_limiter.admit(now)
        )
        if isinstance(decision, Refused):
            self._record(StreamRefused(decision.retry_after))
            # gRPC clients obey this hint only if no header was sent before
            hint = ("grpc-retry-pushback-ms", str(math.ceil(decision.retry_after * 1000)))
            text = f"too many new streams; retry in {decision.retry_after:.1f} s"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text, (hint,))
            raise AssertionError("abort has returned")  # the type of `abort` allows it to
        assert isinstance(own_decision, Admitted)
        delay = max(own_decision.delay, decision.delay)
        if delay:
            self._record(StreamDelayed(delay))
        return delay

    def close(self) -> None:
        """Log the events since the last log line."""
        self._log.flush()

    def _record(self, event: AdmissionEvent) -> None:
        self._log.record(event)
        if self._observer is not None:
            self._observer.observe(None, event)


class AdmissionLog:
    """Logs how many new streams were delayed or refused, at most once in `LOG_INTERVAL`."""

    def __init__(self) -> None:
        self._delayed = self._refused = 0
        self._longest_delay = 0.0
        self._flush_timer: asyncio.TimerHandle | None = None

    def record(self, event: AdmissionEvent) -> None:
        """Count an event; `flush` runs at the end of the interval."""
        if isinstance(event, StreamDelayed):
            self._delayed += 1
            self._longest_delay = max(self._longest_delay, event.seconds)
        else:
            self._refused += 1
        if self._flush_timer is None:
            self._flush_timer = asyncio.get_running_loop().call_later(LOG_INTERVAL, self.flush)

    def flush(self) -> None:
        """Log the events since the last log line."""
        if self._flush_timer is None:
            return
        self._flush_timer.cancel()
        _logger.warning(
            "too many new streams: delayed %d by up to %.1f s, refused %d",
            self._delayed,
            self._longest_delay,
            self._refused,
        )
        self._delayed = self._refused = 0
        self._longest_delay, self._flush_timer = 0.0, None
