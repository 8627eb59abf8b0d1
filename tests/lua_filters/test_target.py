"""How fast a worker may name new targets."""

from collections.abc import Callable
from typing import Any

import pytest


class Clock:
    """The module `target` of a worker, and the clock that it looks at."""

    def __init__(self, modules: Any) -> None:
        self._lua = modules._lua
        self._lua.execute("clock = 1000 os.time = function() return clock end")
        self._target = modules["target"]
        self.named = 0

    def at(self, seconds: int) -> None:
        self._lua.execute(f"clock = {seconds}")

    def new(self, size: int = 0) -> bool:
        """Name another target; return whether it may be."""
        self.named += 1
        found = self._target.admit(self._target.make("image", f"cloud-{self.named}{'x' * size}"))
        return found is True

    def how_many(self, tries: int = 100, size: int = 1) -> int:
        return sum(self.new(size) for _ in range(tries))


@pytest.fixture
def clock(new_modules: Callable[..., Any]) -> Clock:
    return Clock(new_modules(new_targets_per_second=2, new_targets_burst=5, max_targets=50))


def test_a_worker_may_name_a_burst_of_targets_and_then_so_many_each_second(clock: Clock) -> None:
    assert clock.how_many() == 5
    clock.at(1001)
    assert clock.how_many() == 2
    clock.at(1003)
    assert clock.how_many() == 4


def test_an_idle_worker_saves_up_no_more_than_a_burst(clock: Clock) -> None:
    clock.how_many()
    clock.at(5000)

    assert clock.how_many() == 5


def test_a_clock_set_back_changes_no_rate_of_targets(clock: Clock) -> None:
    assert clock.how_many(4) == 4
    clock.at(10)
    assert clock.how_many() == 1
    clock.at(11)
    assert clock.how_many() == 2


def test_the_total_of_targets_is_limited(clock: Clock) -> None:
    total = 0
    for second in range(1001, 1100):
        clock.at(second)
        total += clock.how_many(10)

    assert total == 50


def test_a_long_target_name_counts_as_several(clock: Clock) -> None:
    """Two of 300 bytes for each, of the five at once and of the fifty in all."""
    assert clock.how_many(size=300) == 3
    total = 3
    for second in range(1001, 1100):
        clock.at(second)
        total += clock.how_many(size=300)

    assert total == 25


def test_a_fanout_by_labels_counts_as_eight_targets(new_modules: Callable[..., Any]) -> None:
    """Its cluster names thousands of clouds, which Envoy keeps."""
    target = new_modules(new_targets_burst=1000, max_targets=40)["target"]

    def admitted(expression: str) -> bool:
        return target.admit(target.make("image", expression)) is True

    assert [admitted(f"&[a={number}]") for number in range(6)] == [True] * 5 + [False]
    target = new_modules(new_targets_burst=1000, max_targets=40)["target"]
    assert [admitted(f"a&b{number}") for number in range(41)] == [True] * 40 + [False]
