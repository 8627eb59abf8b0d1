"""How fast new streams are let in: who comes too fast waits, and beyond that is sent away.

Pure; time is an argument. A wait is cheaper than a refusal, which costs a new connection and ends
in whatever pause the client makes; so only who would wait too long is refused. Invariant: of the
streams that are let in, no more than `burst + rate * t` begin to be served in any `t` seconds.
"""

import random
from dataclasses import dataclass

from scopeway.xds.grpc_server.token_bucket import TokenBucket


@dataclass(frozen=True, slots=True)
class Admitted:
    """The stream is let in."""

    delay: float
    """Seconds until it is its turn; 0: now."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The stream is sent away."""

    retry_after: float
    """Seconds after which it may come again: differs for each, or all would come at once."""


class ConnectRateLimiter:
    """The door of one server."""

    def __init__(self, *, rate: float, burst: float, wait: float) -> None:
        """Open it.

        Args:
            rate: Streams a second.
            burst: Streams at once.
            wait: Seconds that a stream may have to wait for its turn.
        """
        self._bucket = TokenBucket(rate=rate, burst=burst)
        self._wait = wait

    def admit(self, now: float) -> Admitted | Refused:
        """Decide on a new stream; who is let in has taken its turn, also if it goes away."""
        seconds = self._bucket.wait_time(1, now)
        if seconds > self._wait:
            return Refused(random.uniform(seconds, 2 * seconds))
        self._bucket.take(1, now)
        return Admitted(seconds)

    def seconds_until_full(self, now: float) -> float:
        """Return the seconds until it is as if nobody had ever come."""
        return self._bucket.seconds_until_full(now)
