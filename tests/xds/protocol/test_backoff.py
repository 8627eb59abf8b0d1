"""When what could not be looked up is tried again."""

from scopeway.xds.protocol.backoff import INITIAL_DELAY, MAX_DELAY, LookupBackoff, jitter


def test_pauses_double_up_to_the_longest() -> None:
    backoff, now, delays = LookupBackoff(), 0.0, []
    for _ in range(9):
        backoff.record_failure("a", requested=False)
        backoff.schedule_retries(now, 0)
        assert backoff.next_at is not None
        delays.append(backoff.next_at - now)
        now = backoff.next_at

        assert list(backoff.pop_due(now)) == [("a", False)]
    assert delays == [1, 2, 4, 8, 16, 32, 64, 64, 64]
    assert (delays[0], delays[-1]) == (INITIAL_DELAY, MAX_DELAY)


def test_what_was_asked_for_once_stays_asked_for() -> None:
    backoff = LookupBackoff()
    backoff.record_failure("a", requested=True)
    backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0, 0)

    assert backoff.was_requested("a")
    assert not backoff.was_requested("b")
    assert list(backoff.pop_due(1)) == [("a", True)]


def test_several_failures_before_one_put_off_are_one() -> None:
    backoff = LookupBackoff()
    for _ in range(3):
        backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0, 0)

    assert backoff.next_at == INITIAL_DELAY


def test_one_that_fails_before_its_time_keeps_it() -> None:
    """A source that tells of changes all the time makes nobody wait longer."""
    backoff = LookupBackoff()
    for tenths in range(10):
        backoff.record_failure("a", requested=tenths == 5)
        backoff.schedule_retries(tenths / 10, 0)

    assert list(backoff.pop_due(INITIAL_DELAY)) == [("a", True)]


def test_each_name_has_its_own_time() -> None:
    backoff = LookupBackoff()
    backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0, 0)
    backoff.record_failure("b", requested=False)
    backoff.schedule_retries(0.5, 0)

    assert list(backoff.pop_due(1)) == [("a", False)]
    assert list(backoff.pop_due(1)) == []
    assert backoff.next_at == 1.5


def test_what_was_found_is_never_due() -> None:
    backoff = LookupBackoff()
    backoff.record_failure("a", requested=False)
    backoff.discard("a")
    backoff.schedule_retries(0, 0)
    backoff.record_failure("b", requested=False)
    backoff.schedule_retries(0, 0)
    backoff.discard("b")
    backoff.discard("never")

    assert backoff.next_at is None
    assert not backoff


def test_one_that_comes_and_goes_all_the_time_takes_no_more_memory() -> None:
    backoff = LookupBackoff()
    for now in range(10_000):
        backoff.record_failure("a", requested=False)
        backoff.schedule_retries(now / 1e6, 0)
        backoff.discard("a")

    assert len(backoff._heap) < 100


def test_nodes_wait_for_different_times_and_each_always_for_the_same() -> None:
    jitters = [jitter(f"site/{number}") for number in range(1000)]

    assert jitters == [jitter(f"site/{number}") for number in range(1000)]
    assert 0 <= min(jitters) < 0.05
    assert 0.45 < max(jitters) < 0.5
