"""Work that nobody waits for, a slice of it in each turn of the event loop.

What a stream leaves behind, or a change means for 40,000 targets, would hold up everybody for
longer than a turn may take.
"""

import asyncio
import logging
from collections import deque
from time import perf_counter
from typing import Final

from scopeway.xds.steps import Steps

_log = logging.getLogger(__name__)

SLICE: Final = 0.003
"""Seconds of it in one turn of the loop."""


class BackgroundQueue:
    """Does one work after the other, in the order in which they were added."""

    def __init__(self) -> None:
        self._works: deque[Steps[None]] = deque()

    def add(self, work: Steps[None]) -> None:
        """Begin at once where nothing else is left to do: what is small is done afterwards."""
        self._works.append(work)
        if len(self._works) == 1:
            self._turn()

    def _turn(self) -> None:
        end = perf_counter() + SLICE
        while self._works:
            try:
                next(self._works[0])
            except StopIteration:
                self._works.popleft()
            except Exception:  # the others are to be done all the same
                _log.exception("some work in the background failed")
                self._works.popleft()
            if perf_counter() >= end:
                break
        if self._works:
            asyncio.get_running_loop().call_soon(self._turn)
