"""A bound on how many lines one kind of event may log."""

import time
from collections.abc import Callable


class LogBudget:
    """A number of lines in a period; the next line reports how many were withheld."""

    def __init__(
        self, lines: int, seconds: float, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._lines = lines
        self._seconds = seconds
        self._clock = clock
        self._since = clock()
        self._used = 0
        self._withheld = 0

    def take(self) -> int | None:
        """Return how many lines were withheld before this one, or None: withhold it, too."""
        now = self._clock()
        if now - self._since >= self._seconds:
            self._since, self._used = now, 0
        if self._used >= self._lines:
            self._withheld += 1
            return None
        self._used += 1
        withheld, self._withheld = self._withheld, 0
        return withheld
