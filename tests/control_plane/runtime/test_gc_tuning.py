import asyncio
import ctypes
import subprocess
import sys

import pytest

from scopeway.control_plane.runtime import gc_tuning


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Stand in for the C library."""
    calls: list[int] = []

    class Library:
        malloc_trim = calls.append

    monkeypatch.setattr(gc_tuning.ctypes, "CDLL", lambda _: Library)
    monkeypatch.setattr(gc_tuning, "QUIET", 0)
    return calls


def run(*sizes: int) -> None:
    """Let it look at each of the sizes, one after the other."""
    left = list(sizes)

    def size() -> int:
        if not left:
            raise LookupError
        return left.pop(0)

    with pytest.raises(LookupError):
        asyncio.run(gc_tuning.return_free_memory(size))


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((0, 0, 0), 0),
        ((0, 5, 5, 5), 1),
        ((0, 5, 6, 7), 0),
        ((0, 5, 5, 5, 0, 0, 0), 2),
    ],
)
def test_memory_is_returned_to_the_system_once_after_each_burst_of_activity(
    trims: list[int], sizes: tuple[int, ...], expected: int
) -> None:
    run(*sizes)

    assert len(trims) == expected


FIRST_LISTING = """
import gc
from scopeway.control_plane.runtime import gc_tuning

try:
    with gc_tuning.without_collections():
        during = gc.isenabled()
        clouds = [[] for _ in range(1000)]
        raise LookupError
except LookupError:
    pass
thresholds = gc.get_threshold() == gc_tuning.THRESHOLDS
print(during, gc.isenabled(), thresholds, gc.get_freeze_count() > 1000)
"""


def test_garbage_collection_skips_the_objects_of_the_first_listing() -> None:
    said = subprocess.check_output([sys.executable, "-c", FIRST_LISTING], text=True)

    assert said.split() == ["False", "True", "True", "True"]


AMONG_SMALL_ONES = """
import ctypes, sys
from pathlib import Path
from scopeway.control_plane.runtime import gc_tuning

def resident():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "apart":
    gc_tuning.map_large_blocks_separately()
before, large = resident(), []
for _ in range(2_000):
    large.append(library.malloc(gc_tuning.LARGE))
    ctypes.memset(ctypes.c_void_p(large[-1]), 1, gc_tuning.LARGE)
    library.malloc(64)
for block in large:
    library.free(block)
print(resident() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="not glibc")
def test_large_blocks_between_small_ones_are_returned_to_the_system() -> None:
    kept = {
        how: int(subprocess.check_output([sys.executable, "-c", AMONG_SMALL_ONES, how]))
        for how in ("as it is", "apart")
    }

    assert kept["apart"] < kept["as it is"] / 10
