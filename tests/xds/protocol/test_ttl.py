"""When refreshes are due."""

from scopeway.xds.protocol.ttl import Refreshes


def test_what_is_due_comes_in_order_and_again_later() -> None:
    refreshes = Refreshes()
    refreshes.arm("slow", ttl=90, now=0)
    refreshes.arm("fast", ttl=30, now=0)

    assert refreshes.next == 10
    assert list(refreshes.due(9)) == []
    assert list(refreshes.due(30)) == [("fast", 30), ("slow", 90)]
    assert refreshes.next == 40


def test_the_last_arming_counts() -> None:
    refreshes = Refreshes()
    refreshes.arm("a", ttl=30, now=0)
    refreshes.arm("b", ttl=30, now=1)
    refreshes.arm("a", ttl=60, now=2)

    assert list(refreshes.due(11)) == [("b", 30)]
    assert refreshes.next == 21


def test_what_is_dropped_is_never_due() -> None:
    refreshes = Refreshes()
    refreshes.arm("a", ttl=30, now=0)
    refreshes.drop("a")
    refreshes.drop("never")

    assert refreshes.next is None
    assert "a" not in refreshes
    assert list(refreshes.due(100)) == []


def test_what_is_left_for_later_stays_due() -> None:
    refreshes = Refreshes()
    for name in ("a", "b", "c"):
        refreshes.arm(name, ttl=30, now=0)

    assert next(refreshes.due(10)) == ("a", 30)
    assert list(refreshes.due(10)) == [("b", 30), ("c", 30)]


def test_a_resource_that_changes_all_the_time_takes_no_more_memory() -> None:
    refreshes = Refreshes()
    for now in range(10_000):
        refreshes.arm("a", ttl=86_400, now=now)

    assert len(refreshes._heap) < 100
    assert refreshes.next == 9_999 + 28_800
