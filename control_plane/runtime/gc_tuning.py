"""The memory of the process: when Python collects garbage, and what is returned to the system.

Owns nothing but settings of the interpreter and the C library. Knows no clouds and no streams.
"""

import asyncio
import ctypes
import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

THRESHOLDS = (5_000, 20, 10)
"""Of the collector: reference counts free nearly everything here, and with its own thresholds it
looked at all objects of 1,000 streams every few changes, 50 ms at a time."""
QUIET = 5.0
"""Seconds without a new stream or target, after which memory is returned."""
LARGE = 8192
"""Bytes of the blocks that have pages of their own; gRPC reads into blocks of this size."""
MOST_LARGE = 16_384
"""Blocks with pages of their own, a quarter of what Linux lets a process map."""
ROOM = 4096
"""Bytes by which the heap grows ahead: no large block must fit in."""
_M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -2, -3, -4
"""As <malloc.h> has them."""


@contextmanager
def without_collections() -> Iterator[None]:
    """Take what is made inside for what stays.

    Looking for garbage among the values of 10,000 clouds finds none. It costs a third of the first
    listing, and later would hold up every stream for some 50 ms at a time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*THRESHOLDS)
        gc.enable()


def map_large_blocks_separately() -> None:
    """Let large blocks have pages of their own, which go back to the system when they are freed.

    What many streams send at once, 61 kB each, lies between small blocks that stay; freed, it left
    holes: 10 to 35 kB for each stream.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # another C library
        mallopt(_M_MMAP_THRESHOLD, LARGE)
        mallopt(_M_MMAP_MAX, MOST_LARGE)
        mallopt(_M_TOP_PAD, ROOM)


async def return_free_memory(activity: Callable[[], object]) -> None:
    """Return free memory to the system after each burst of streams; for ever.

    What a thousand Envoys send and are sent at once, 150 kB each, is freed but stays with the
    process: glibc gives back what is at the end of the heap only, unless it is told to.

    Args:
        activity: Another value means that streams or targets have come or gone.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is None:  # another C library
        return
    before = done = activity()
    while True:
        await asyncio.sleep(QUIET)
        now = activity()
        if now == before and now != done:
            await asyncio.to_thread(trim, 0)
            done = now
        before = now
