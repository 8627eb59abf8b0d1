"""When refreshes are due."""

from scopeway.xds.protocol.ttl import TtlRefreshes


def test_refreshes_are_due_in_order_and_again_later() -> None:
    refreshes = TtlRefreshes()
    refreshes.schedule("slow", ttl=90, now=0)
    refreshes.schedule("fast", ttl=30, now=0)

    assert refreshes.next_at == 10
    assert list(refreshes.pop_due(9)) == []
    assert list(refreshes.pop_due(30)) == [("fast", 30), ("slow", 90)]
    assert refreshes.next_at == 40


def test_the_last_ttl_of_a_name_counts() -> None:
    refreshes = TtlRefreshes()
    refreshes.schedule("a", ttl=30, now=0)
    refreshes.schedule("b", ttl=30, now=1)
    refreshes.schedule("a", ttl=60, now=2)

    assert list(refreshes.pop_due(11)) == [("b", 30)]
    assert refreshes.next_at == 21


def test_a_cancelled_refresh_is_never_due() -> None:
    refreshes = TtlRefreshes()
    refreshes.schedule("a", ttl=30, now=0)
    refreshes.cancel("a")
    refreshes.cancel("never")

    assert refreshes.next_at is None
    assert "a" not in refreshes
    assert list(refreshes.pop_due(100)) == []


def test_refreshes_that_the_caller_did_not_take_stay_due() -> None:
    refreshes = TtlRefreshes()
    for name in ("a", "b", "c"):
        refreshes.schedule(name, ttl=30, now=0)

    assert next(refreshes.pop_due(10)) == ("a", 30)
    assert list(refreshes.pop_due(10)) == [("b", 30), ("c", 30)]
