"""Whether work grows in proportion to what it is given: CPU time of `n` beside that of `4 n`."""

import gc
import time
from collections.abc import Callable

LINEAR = 9.0
"""Four times as much takes some four times as long, and 16 times where it is quadratic."""


def growth(prepare: Callable[[int], Callable[[], object]], size: int) -> float:
    """Return how many times longer it takes with four times as much.

    Args:
        prepare: Makes the work for a size; only the work itself is measured.
        size: The smaller size; so much that it takes some milliseconds.
    """
    small, large = _least(prepare, size), _least(prepare, 4 * size)
    return large / small


def _least(prepare: Callable[[int], Callable[[], object]], size: int) -> float:
    times = []
    for _ in range(3):
        work = prepare(size)
        gc.disable()
        try:
            start = time.process_time()
            work()
            times.append(time.process_time() - start)
        finally:
            gc.enable()
    return min(times)
