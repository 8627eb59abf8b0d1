"""How long the turns of an event loop are, in CPU time of its thread."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from time import thread_time


class Turns:
    """The turns of a loop while it was watched; garbage is not collected meanwhile."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        """Seconds of CPU."""
        self._before = 0.0
        self._watching = False

    def _turn(self) -> None:
        now = thread_time()
        self.longest = max(self.longest, now - self._before)
        self._before = now
        self.count += 1
        if self._watching:
            asyncio.get_running_loop().call_soon(self._turn)

    @contextmanager
    def watched(self) -> Iterator["Turns"]:
        """Watch the running loop, which is busy all the while."""
        self._watching, self._before = True, thread_time()
        gc.disable()
        self._turn()
        try:
            yield self
        finally:
            self._watching = False
            gc.enable()
