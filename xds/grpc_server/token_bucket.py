"""A token bucket that lends: the caller may take tokens in advance and must wait afterwards.

Pure; time is an argument. Invariant: in any `t` seconds no more than `burst + rate * t` tokens are
taken, plus the last take.
"""


class TokenBucket:
    """Holds at most `burst` tokens, and gets `rate` more each second."""

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def wait_time(self, count: float, now: float) -> float:
        """Return the seconds until `count` tokens are available, if nobody takes any."""
        self._fill(now)
        return max(0.0, (count - self._tokens) / self._rate)

    def take(self, count: float, now: float) -> float:
        """Take tokens, in advance if need be; return the seconds until the debt is paid."""
        self._fill(now)
        self._tokens -= count
        return self.wait_time(0, now)

    def seconds_until_full(self, now: float) -> float:
        """Return the seconds until the bucket is full."""
        return self.wait_time(self._burst, now)

    def _fill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
