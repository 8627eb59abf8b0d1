"""The token bucket by itself."""

from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds.grpc_server.token_bucket import TokenBucket


def test_a_burst_is_free_and_what_is_more_is_waited_for() -> None:
    bucket = TokenBucket(rate=10, burst=100)

    assert bucket.take(100, 0) == 0
    assert bucket.take(1, 0) == 0.1
    assert bucket.take(4, 0) == 0.5
    assert bucket.take(0, 0.5) == 0
    assert bucket.take(1, 0.5) == 0.1


def test_to_ask_how_long_it_takes_takes_nothing() -> None:
    bucket = TokenBucket(rate=10, burst=2)

    assert bucket.wait_time(2, 0) == 0
    assert bucket.wait_time(3, 0) == 0.1
    assert bucket.take(2, 0) == 0
    assert bucket.wait_time(1, 0) == 0.1
    assert bucket.wait_time(1, 0.1) == 0


def test_a_rest_gives_no_more_than_a_burst() -> None:
    bucket = TokenBucket(rate=10, burst=100)
    bucket.take(100, 0)

    assert bucket.take(100, 1000) == 0
    assert bucket.take(1, 1000) == 0.1


@given(st.lists(st.integers(0, 50), max_size=50))
def test_who_waits_as_told_takes_no_more_than_the_rate(counts: list[int]) -> None:
    bucket, now, taken = TokenBucket(rate=10, burst=20), 0.0, 0
    for count in counts:
        assert taken <= 20 + 10 * now + 1e-6
        now += bucket.take(count, now)
        taken += count
