"""When failed lookups are repeated."""

from scopeway.xds.protocol.backoff import INITIAL_DELAY, MAX_DELAY, LookupBackoff, jitter


def test_delays_double_up_to_the_maximum() -> None:
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


def test_a_name_that_was_requested_once_counts_as_requested() -> None:
    backoff = LookupBackoff()
    backoff.record_failure("a", requested=True)
    backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0, 0)

    assert backoff.was_requested("a")
    assert not backoff.was_requested("b")
    assert list(backoff.pop_due(1)) == [("a", True)]


def test_several_failures_before_the_retry_is_scheduled_count_once() -> None:
    backoff = LookupBackoff()
    for _ in range(3):
        backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0, 0)

    assert backoff.next_at == INITIAL_DELAY


def test_a_failure_before_the_scheduled_retry_does_not_delay_it() -> None:
    """A source that keeps announcing changes does not postpone the retry."""
    backoff = LookupBackoff()
    for tenths in range(10):
        backoff.record_failure("a", requested=tenths == 5)
        backoff.schedule_retries(tenths / 10, 0)

    assert list(backoff.pop_due(INITIAL_DELAY)) == [("a", True)]


def test_each_name_has_its_own_retry() -> None:
    backoff = LookupBackoff()
    backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0, 0)
    backoff.record_failure("b", requested=False)
    backoff.schedule_retries(0.5, 0)

    assert list(backoff.pop_due(1)) == [("a", False)]
    assert list(backoff.pop_due(1)) == []
    assert backoff.next_at == 1.5


def test_a_discarded_name_has_no_retry() -> None:
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


def test_each_node_has_its_own_jitter_and_always_the_same() -> None:
    jitters = [jitter(f"site/{number}") for number in range(1000)]

    assert jitters == [jitter(f"site/{number}") for number in range(1000)]
    assert 0 <= min(jitters) < 0.05
    assert 0.45 < max(jitters) < 0.5


def test_a_name_that_is_not_known_yet_has_no_retry() -> None:
    backoff = LookupBackoff()
    backoff.record_failure("a", requested=True)
    backoff.wait("a", requested=False)
    backoff.schedule_retries(0.0, 0.0)

    assert backoff.next_at is None
    assert list(backoff.pending_names()) == ["a"]
    assert backoff.was_requested("a")


def test_a_lookup_that_fails_after_it_was_pending_is_retried_after_the_first_delay() -> None:
    backoff = LookupBackoff()
    backoff.wait("a", requested=False)
    backoff.record_failure("a", requested=False)
    backoff.schedule_retries(0.0, 0.0)

    assert backoff.next_at == INITIAL_DELAY
    assert list(backoff.pending_names()) == []
