"""Long work in slices: others have their turn in between."""

import asyncio
from collections.abc import Callable
from time import perf_counter, thread_time
from typing import Final, TypeVar

from scopeway.xds.steps import Steps

_T = TypeVar("_T")

SLICE: Final = 0.005
"""Seconds of work between two turns of the event loop, and what one step takes besides."""


def _to_nobody(_: float) -> None:
    pass


async def in_slices(
    steps: Steps[_T], seconds: float = SLICE, *, took: Callable[[float], None] = _to_nobody
) -> _T:
    """Do it in slices of some seconds; return its result.

    `took` is told, at the end, how many seconds of CPU the steps took: the turns of others don't
    count.
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
