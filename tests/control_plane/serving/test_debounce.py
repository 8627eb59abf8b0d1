"""A name that changes again and again is told once a second."""

from collections.abc import Collection

from harness.clock import Clock
from scopeway.control_plane.serving.debounce import REST, Debounce


class Recording(Debounce):
    def __init__(self, timer: Clock | None) -> None:
        super().__init__(self._record, timer)
        self.told: list[list[str]] = []

    def _record(self, names: Collection[str]) -> None:
        self.told.append(list(names))


def test_the_first_change_is_due_at_once_and_the_next_ones_once_after_a_rest() -> None:
    clock = Clock()
    debounce = Recording(clock)

    assert debounce.due(["a", "b"]) == ["a", "b"]
    for _ in range(100):
        assert debounce.due(["a"]) == []
    clock.advance(REST / 2)
    assert debounce.told == []
    clock.advance(REST / 2)
    assert debounce.told == [["a"]]


def test_a_name_that_never_stops_changing_is_told_once_in_each_rest() -> None:
    clock = Clock()
    debounce = Recording(clock)
    debounce.due(["a"])

    for _ in range(10):
        for _ in range(5):
            debounce.due(["a"])
            clock.advance(REST / 5)

    assert debounce.told == [["a"]] * 10


def test_a_name_that_has_rested_is_due_at_once_again() -> None:
    clock = Clock()
    debounce = Recording(clock)
    debounce.due(["a"])
    clock.advance(REST)

    assert debounce.due(["a"]) == ["a"]
    assert debounce.told == []


def test_names_that_rest_are_forgotten() -> None:
    clock = Clock()
    debounce = Recording(clock)
    debounce.due(f"cloud-{number}" for number in range(1000))
    clock.advance(REST)

    assert debounce._resting == {}
    assert clock.calls == []


def test_nothing_rests_without_a_clock() -> None:
    debounce = Recording(None)

    assert debounce.due(["a"]) == debounce.due(["a"]) == ["a"]
