"""How long the turns of the event loop are: while one lasts, nobody is served.

Owns the measure: a timer that is due every 20 ms, and how late it is. Left out are collections of
garbage, whose length depends on what is kept and not on what one client asks for, and the time in
which the system ran other processes.
"""

import asyncio
import gc
from collections.abc import Mapping
from time import perf_counter, thread_time
from typing import Any, Final

PERIOD: Final = 0.02
"""Seconds; a turn is seen but for so much of it at most."""


class LoopLag:
    """The longest turn since somebody last asked."""

    def __init__(self) -> None:
        self._longest = 0.0
        self._collecting = 0.0  # seconds, of all time
        self._began = 0.0

    def take(self) -> float:
        """Return it in seconds, and begin anew; from any thread."""
        longest, self._longest = self._longest, 0.0
        return longest

    async def watch(self) -> None:
        """Look, for ever."""
        gc.callbacks.append(self._collected)
        try:
            while True:
                due, collecting, used = perf_counter() + PERIOD, self._collecting, thread_time()
                await asyncio.sleep(PERIOD)
                collected = self._collecting - collecting
                late = min(perf_counter() - due, thread_time() - used) - collected
                self._longest = max(self._longest, late)
        finally:
            gc.callbacks.remove(self._collected)

    def _collected(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._began = perf_counter()
        else:
            self._collecting += perf_counter() - self._began
