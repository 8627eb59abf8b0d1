"""How much a call costs, in calls of functions: the same on every machine."""

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any


def steps(call: Callable[[], object]) -> int:
    """The calls of functions, those of C included, that `call` makes; it may raise nothing."""
    count = 0

    def one_more(_frame: FrameType, event: str, _argument: Any) -> None:
        nonlocal count
        if event in {"call", "c_call"}:
            count += 1

    before = sys.getprofile()
    sys.setprofile(one_more)
    try:
        call()
    finally:
        sys.setprofile(before)
    return count


def none_costs_more(call: Callable[[bytes], object], data: bytes, size: int, each: int) -> None:
    """Asserts that a text of `size` bytes made by repeating `data` costs `each` steps a byte."""
    long = (data * (size // len(data) + 1))[:size]
    taken = steps(lambda: call(long))
    assert taken <= each * (size + 100), f"{taken} steps for {size} bytes"
