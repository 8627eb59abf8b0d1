"""When what could not be looked up is tried again."""

from scopeway.xds.protocol.backoff import FIRST_PAUSE, LONGEST_PAUSE, Retries, spread


def test_pauses_double_up_to_the_longest() -> None:
    retries, now, pauses = Retries(), 0.0, []
    for _ in range(9):
        retries.fail("a", asked=False)
        retries.put_off(now, 0)
        assert retries.next is not None
        pauses.append(retries.next - now)
        now = retries.next

        assert list(retries.due(now)) == [("a", False)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert (pauses[0], pauses[-1]) == (FIRST_PAUSE, LONGEST_PAUSE)


def test_what_was_asked_for_once_stays_asked_for() -> None:
    retries = Retries()
    retries.fail("a", asked=True)
    retries.fail("a", asked=False)
    retries.put_off(0, 0)

    assert retries.asked("a")
    assert not retries.asked("b")
    assert list(retries.due(1)) == [("a", True)]


def test_several_failures_before_one_put_off_are_one() -> None:
    retries = Retries()
    for _ in range(3):
        retries.fail("a", asked=False)
    retries.put_off(0, 0)

    assert retries.next == FIRST_PAUSE


def test_one_that_fails_before_its_time_keeps_it() -> None:
    """A source that tells of changes all the time makes nobody wait longer."""
    retries = Retries()
    for tenths in range(10):
        retries.fail("a", asked=tenths == 5)
        retries.put_off(tenths / 10, 0)

    assert list(retries.due(FIRST_PAUSE)) == [("a", True)]


def test_each_name_has_its_own_time() -> None:
    retries = Retries()
    retries.fail("a", asked=False)
    retries.put_off(0, 0)
    retries.fail("b", asked=False)
    retries.put_off(0.5, 0)

    assert list(retries.due(1)) == [("a", False)]
    assert list(retries.due(1)) == []
    assert retries.next == 1.5


def test_what_was_found_is_never_due() -> None:
    retries = Retries()
    retries.fail("a", asked=False)
    retries.drop("a")
    retries.put_off(0, 0)
    retries.fail("b", asked=False)
    retries.put_off(0, 0)
    retries.drop("b")
    retries.drop("never")

    assert retries.next is None
    assert not retries


def test_one_that_comes_and_goes_all_the_time_takes_no_more_memory() -> None:
    retries = Retries()
    for now in range(10_000):
        retries.fail("a", asked=False)
        retries.put_off(now / 1e6, 0)
        retries.drop("a")

    assert len(retries._heap) < 100


def test_nodes_wait_for_different_times_and_each_always_for_the_same() -> None:
    spreads = [spread(f"site/{number}") for number in range(1000)]

    assert spreads == [spread(f"site/{number}") for number in range(1000)]
    assert 0 <= min(spreads) < 0.05
    assert 0.45 < max(spreads) < 0.5
