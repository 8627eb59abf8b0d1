"""Work in steps: a generator that yields where it may be interrupted, and returns its result.

A large request takes seconds of CPU. The caller of a generator decides how many steps fit into one
turn of its event loop (`xds.grpc_server.cpu_budget`), or takes all of them at once (`finish`).
"""

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

_T = TypeVar("_T")

Steps: TypeAlias = Generator[None, None, _T]
"""Work that returns a `_T`, a step at a time."""
STRIDE: Final = 64
"""A loop whose rounds take some microseconds yields once in so many rounds."""
LARGE: Final = 128
"""A round that reads a message of more bytes than that, which may have as many fields, yields."""


def finish(steps: Steps[_T]) -> _T:
    """Take all steps at once; return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: _T = done.value
            return result
