"""Long work in slices: others have their turn in between.

Work is a generator that yields after each small step and returns its result; who runs it decides
how much is done at once.
"""

import asyncio
from collections.abc import Generator
from time import perf_counter
from typing import Final, TypeVar

_T = TypeVar("_T")

Steps = Generator[None, None, _T]

SLICE: Final = 0.005
"""Seconds of work between two turns of the event loop, and what one step takes besides."""


def at_once(steps: Steps[_T]) -> _T:
    """Do all of it now; return its result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: _T = done.value
            return result


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
