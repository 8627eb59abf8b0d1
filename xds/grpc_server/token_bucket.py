"""A token bucket that lends: what is too much now is waited for, not refused.

Pure; time is an argument. Invariant: over any time of `t` seconds no more than `burst + rate * t`
tokens are taken, but for what the last taker took at once.
"""


class TokenBucket:
    """So many tokens at once, and so many more each second."""

    def __init__(self, *, rate: float, burst: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._at: float | None = None

    def wait_time(self, count: float, now: float) -> float:
        """Return the seconds until so many tokens are there, if nobody else takes any."""
        self._fill(now)
        return max(0.0, (count - self._tokens) / self._rate)

    def take(self, count: float, now: float) -> float:
        """Take tokens, also those that aren't there yet; return the seconds to wait before more."""
        self._fill(now)
        self._tokens -= count
        return self.wait_time(0, now)

    def seconds_until_full(self, now: float) -> float:
        """Return the seconds until it is as if nobody had ever taken any."""
        return self.wait_time(self._burst, now)

    def _fill(self, now: float) -> None:
        if self._at is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
