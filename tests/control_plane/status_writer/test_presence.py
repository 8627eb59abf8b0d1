"""Which clouds count as connected."""

from scopeway.control_plane.status_writer.conditions import Connection
from scopeway.control_plane.status_writer.presence import Presence

ONE, TWO = 1, 2


def connected(*keys: int) -> frozenset[int]:
    return frozenset(keys)


def begun(*keys: int) -> Presence:
    """A presence whose beginning is a grace ago."""
    presence = Presence(60)
    presence.update(connected(*keys), 0)
    assert presence.expire(60) is None
    return presence


def test_nothing_is_known_before_the_replicas_were_read() -> None:
    presence = Presence(60)

    assert presence.expire(1000) == ()
    assert presence.state(ONE) is Connection.UNKNOWN


def test_at_the_beginning_a_cloud_that_is_not_seen_may_come_back() -> None:
    presence = Presence(60)

    assert presence.update(connected(ONE), 0) == connected(ONE)
    assert presence.expire(59) == []
    assert presence.state(ONE) is Connection.CONNECTED
    assert presence.state(TWO) is Connection.LEFT
    assert presence.expire(60) is None
    assert presence.state(TWO) is Connection.ABSENT


def test_a_cloud_that_comes_is_connected_at_once() -> None:
    presence = begun()

    assert presence.update(connected(ONE), 100) == connected(ONE)
    assert presence.state(ONE) is Connection.CONNECTED


def test_a_cloud_that_leaves_is_absent_after_the_grace() -> None:
    presence = begun(ONE)

    assert presence.update(connected(), 100) == connected()
    assert presence.expire(159) == []
    assert presence.state(ONE) is Connection.LEFT
    assert presence.expire(160) == [ONE]
    assert presence.state(ONE) is Connection.ABSENT


def test_a_cloud_that_comes_back_in_time_never_was_absent() -> None:
    presence = begun(ONE)
    presence.update(connected(), 100)
    presence.update(connected(ONE), 150)
    presence.update(connected(), 155)

    assert presence.expire(160) == []
    assert presence.expire(215) == [ONE]


def test_a_cloud_that_comes_and_leaves_again_holds_up_no_other() -> None:
    presence = begun(ONE, TWO)
    presence.update(connected(TWO), 100)
    presence.update(connected(ONE, TWO), 110)
    presence.update(connected(ONE), 120)
    presence.update(connected(), 155)

    assert presence.expire(180) == [TWO]
    assert presence.expire(215) == [ONE]
