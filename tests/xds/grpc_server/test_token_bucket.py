"""The token bucket."""

from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds.grpc_server.token_bucket import TokenBucket


def test_tokens_beyond_a_burst_must_be_waited_for() -> None:
    bucket = TokenBucket(rate=10, burst=100)

    assert bucket.take(100, 0) == 0
    assert bucket.take(1, 0) == 0.1
    assert bucket.take(4, 0) == 0.5
    assert bucket.take(0, 0.5) == 0
    assert bucket.take(1, 0.5) == 0.1


def test_wait_time_takes_no_tokens() -> None:
    bucket = TokenBucket(rate=10, burst=2)

    assert bucket.wait_time(2, 0) == 0
    assert bucket.wait_time(3, 0) == 0.1
    assert bucket.take(2, 0) == 0
    assert bucket.wait_time(1, 0) == 0.1
    assert bucket.wait_time(1, 0.1) == 0


def test_an_idle_bucket_holds_no_more_than_a_burst() -> None:
    bucket = TokenBucket(rate=10, burst=100)
    bucket.take(100, 0)

    assert bucket.take(100, 1000) == 0
    assert bucket.take(1, 1000) == 0.1


@given(st.lists(st.integers(0, 50), max_size=50))
def test_a_caller_that_waits_takes_no_more_than_the_rate(counts: list[int]) -> None:
    bucket, now, taken = TokenBucket(rate=10, burst=20), 0.0, 0
    for count in counts:
        assert taken <= 20 + 10 * now + 1e-6
        now += bucket.take(count, now)
        taken += count
