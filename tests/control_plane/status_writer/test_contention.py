"""How often an object is written that somebody else writes, too."""

from scopeway.control_plane.status_writer.contention import (
    CALM,
    FREE_WRITES,
    LONGEST_DELAY,
    Contention,
)

PLACE = "edgeclouds/a"


def fought(contention: Contention, writes: int, generation: int = 1) -> list[float]:
    """Write as soon as it may be; return the pauses between."""
    now, pauses = 0.0, []
    for _ in range(writes):
        free = max(contention.free_at(PLACE, generation), now)
        pauses.append(free - now)
        now = free
        contention.note(PLACE, generation, now)
    return pauses


def test_the_first_writes_of_a_generation_are_not_delayed() -> None:
    assert fought(Contention(), FREE_WRITES + 1) == [0] * (FREE_WRITES + 1)


def test_further_ones_are_delayed_ever_longer() -> None:
    pauses = fought(Contention(), FREE_WRITES + 20)[FREE_WRITES + 1 :]

    assert pauses[:3] == [2, 4, 8]
    assert pauses[-1] == LONGEST_DELAY


def test_a_new_generation_is_not_delayed() -> None:
    contention = Contention()
    fought(contention, 20)

    assert contention.free_at(PLACE, 2) <= 0
    assert fought(contention, 3, generation=2) == [0, 0, 0]


def test_the_contention_is_told_once() -> None:
    contention = Contention()
    told = [contention.note(PLACE, 1, float(now)) for now in range(20)]

    assert told.count(True) == 1
    assert told.index(True) == FREE_WRITES


def test_a_calm_object_is_as_one_that_was_never_written() -> None:
    contention = Contention()
    for _ in range(FREE_WRITES):
        contention.note(PLACE, 1, 0)
    contention.note(PLACE, 1, CALM)

    assert contention.free_at(PLACE, 1) <= CALM


def test_an_object_that_is_gone_is_forgotten() -> None:
    contention = Contention()
    fought(contention, 20)
    contention.forget(PLACE)

    assert contention.free_at(PLACE, 1) <= 0
