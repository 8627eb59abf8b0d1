"""Work in steps: a generator that yields where it may be interrupted, and returns its result.

A large request takes seconds of CPU time. The caller of a generator decides how many steps to run
in one turn of its event loop (`xds.grpc_server.cpu_budget`), or runs all at once (`finish`).
"""

from collections.abc import Generator
from typing import Final, TypeAlias, TypeVar

_T = TypeVar("_T")

Steps: TypeAlias = Generator[None, None, _T]
"""Work in steps that returns a `_T`."""
STRIDE: Final = 64
"""A loop with rounds of some microseconds yields once in this number of rounds."""
LARGE: Final = 128
"""A round that reads a message of more bytes yields, as the message may have as many fields."""


def finish(steps: Steps[_T]) -> _T:
    """Run all steps at once; return the result."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: _T = done.value
            return result
