"""Long work in slices: between two of them, others have their turn of the event loop.

Two ways: `in_slices` for work that its caller waits for, and `BackgroundQueue` for work that nobody
waits for, which begins at once where it is added. (`xds.grpc_server.cpu_budget` cuts the work of a
client, and bounds it.)
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Final, TypeVar

from scopeway.xds.steps import Steps

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

SLICE: Final = 0.005
"""Seconds of work between two turns of the event loop, and what one step takes besides."""
BACKGROUND_SLICE: Final = 0.003
"""The same of work in the background, whose slices come one in each turn."""


def _ignore(_: float) -> None:
    pass


async def in_slices(
    steps: Steps[_T], seconds: float = SLICE, *, took: Callable[[float], None] = _ignore
) -> _T:
    """Take all steps, in slices of some seconds; return their result.

    Args:
        steps: The work.
        seconds: The length of a slice.
        took: Is called at the end with the seconds of CPU that the steps took, without the turns of
            others.
    """
    worked = 0.0
    while True:
        start, cpu = perf_counter(), thread_time()
        try:
            next(steps)
            while perf_counter() - start <= seconds:
                next(steps)
        except StopIteration as done:
            took(worked + thread_time() - cpu)
            result: _T = done.value
            return result
        worked += thread_time() - cpu
        await asyncio.sleep(0)


class BackgroundQueue:
    """Does one work after the other, in the order in which they were added."""

    def __init__(self) -> None:
        self._works: deque[Steps[None]] = deque()

    def add(self, work: Steps[None]) -> None:
        """Add work, and begin at once if nothing else is left: small work is done afterwards."""
        self._works.append(work)
        if len(self._works) == 1:
            self._turn()

    def _turn(self) -> None:
        end = perf_counter() + BACKGROUND_SLICE
        while self._works:
            try:
                next(self._works[0])
            except StopIteration:
                self._works.popleft()
            except Exception:  # the others must be done all the same
                _log.exception("work in the background failed")
                self._works.popleft()
            if perf_counter() >= end:
                break
        if self._works:
            asyncio.get_running_loop().call_soon(self._turn)
