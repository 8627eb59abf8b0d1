"""The rate limiter of new streams."""

from hypothesis import given
from hypothesis import strategies as st

from scopeway.xds.grpc_server.connect_rate import Admitted, ConnectRateLimiter, Refused


def test_a_burst_is_admitted_at_once_and_further_streams_are_delayed() -> None:
    limiter = ConnectRateLimiter(rate=10, burst=2, wait=1)

    assert [limiter.admit(0) for _ in range(4)] == [
        Admitted(0),
        Admitted(0),
        Admitted(0.1),
        Admitted(0.2),
    ]
    assert limiter.admit(0.2) == Admitted(0.1)
    assert limiter.admit(10) == Admitted(0)


def test_a_stream_over_the_longest_delay_is_refused_and_does_not_count() -> None:
    limiter = ConnectRateLimiter(rate=10, burst=1, wait=0.25)
    decisions = [limiter.admit(0) for _ in range(3)]

    assert decisions == [Admitted(0), Admitted(0.1), Admitted(0.2)]
    assert all(isinstance(limiter.admit(0), Refused) for _ in range(100))
    assert limiter.admit(0.1) == Admitted(0.2)


def test_refused_streams_get_different_retry_times() -> None:
    limiter = ConnectRateLimiter(rate=1, burst=1, wait=2)
    for _ in range(3):
        limiter.admit(0)
    times = [each.retry_after for _ in range(50) if isinstance(each := limiter.admit(0), Refused)]

    assert len(set(times)) == 50
    assert all(3 <= each <= 6 for each in times)


@given(st.lists(st.floats(0, 0.5), max_size=100))
def test_no_more_streams_are_admitted_than_the_rate(pauses: list[float]) -> None:
    limiter, now, turns = ConnectRateLimiter(rate=10, burst=5, wait=0.5), 0.0, list[float]()
    for pause in pauses:
        now += pause
        if isinstance(decision := limiter.admit(now), Admitted):
            assert decision.delay <= 0.5
            turns.append(now + decision.delay)

    assert turns == sorted(turns)
    for first in range(len(turns)):
        for last in range(first, len(turns)):
            assert last - first + 1 <= 5 + 10 * (turns[last] - turns[first]) + 1e-6
