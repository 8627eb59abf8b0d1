"""Long work in slices: others have their turn in between."""

import asyncio
from time import perf_counter
from typing import Final, TypeVar

from xds.steps import Steps

_T = TypeVar("_T")

SLICE: Final = 0.005
"""Seconds of work between two turns of the event loop, and what one step takes besides."""


async def in_slices(steps: Steps[_T], seconds: float = SLICE) -> _T:
    """Do it in slices of some seconds; return its result."""
    start = perf_counter()
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: _T = done.value
            return result
        if perf_counter() - start > seconds:
            await asyncio.sleep(0)
            start = perf_counter()
