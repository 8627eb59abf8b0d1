"""A rate limiter for new streams: delays streams above the rate, and refuses long delays.

Pure; time is an argument. A delay is cheaper than a refusal: a refused client opens a new
connection, at a time that it chooses. So only a stream that would wait too long is refused.

Invariant: of the admitted streams, no more than `burst + rate * t` start in any `t` seconds.
"""

import random
from dataclasses import dataclass

from scopeway.xds.grpc_server.token_bucket import TokenBucket


@dataclass(frozen=True, slots=True)
class Admitted:
    """The stream is admitted."""

    delay: float
    """Seconds that it must wait first."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream is refused."""

    retry_after: float
    """Seconds after which the client should retry. Random, so that not all retry at once."""


class ConnectRateLimiter:
    """Limits the rate of new streams, of one server or of one client."""

    def __init__(self, *, rate: float, burst: float, wait: float) -> None:
        """Create a limiter.

        Args:
            rate: Streams per second.
            burst: Streams at once.
            wait: The longest delay of a stream, in seconds.
        """
        self._bucket = TokenBucket(rate=rate, burst=burst)
        self._wait = wait

    def admit(self, now: float) -> Admitted | Refused:
        """Decide on a new stream. An admitted stream counts even if the client cancels it."""
        seconds = self._bucket.wait_time(1, now)
        if seconds > self._wait:
            return Refused(random.uniform(seconds, 2 * seconds))
        self._bucket.take(1, now)
        return Admitted(seconds)

    def seconds_until_full(self, now: float) -> float:
        """Return the seconds until the limiter is in its initial state again."""
        return self._bucket.seconds_until_full(now)
