from collections.abc import Collection, Iterator

import pytest

from scopeway.xds.hub import Hub, Member
from scopeway.xds.type_urls import CLUSTER, ROUTE


class FakeSession:
    """Wants what it is told to want; notes what it hears."""

    def __init__(self, *names: str, type_url: str = CLUSTER, wildcard: bool = False) -> None:
        self.wanted: set[tuple[str, str]] = set()
        self.changes: list[tuple[str, str, bool]] = []
        self.wildcard = wildcard
        self.heard: list[tuple[str, tuple[str, ...]]] = []
        self.wakes = 0
        for name in names:
            self.want(name, type_url)

    def want(self, name: str, type_url: str = CLUSTER) -> None:
        self.wanted.add((type_url, name))
        self.changes.append((type_url, name, True))

    def leave(self, name: str, type_url: str = CLUSTER) -> None:
        self.wanted.discard((type_url, name))
        self.changes.append((type_url, name, False))

    def resources_changed(self, type_url: str, names: Collection[str]) -> bool:
        self.heard.append((type_url, tuple(sorted(names))))
        return any((type_url, name) in self.wanted for name in names)

    def wildcard_changed(self, type_url: str) -> bool:
        self.heard.append((type_url, ("*",)))
        return self.wildcard

    def interest_changes(self) -> Collection[tuple[str, str, bool]]:
        changes, self.changes = self.changes, []
        return changes

    def interests(self) -> Iterator[tuple[str, str]]:
        yield from self.wanted

    def wake(self) -> None:
        self.wakes += 1


def join(hub: Hub, session: FakeSession, group: str = "g") -> Member:
    return hub.join(session, group, session.wake)


def test_only_the_streams_that_want_a_name_are_told_and_woken() -> None:
    hub = Hub()
    one, two, other = FakeSession("a", "b"), FakeSession("b"), FakeSession("c")
    for session in (one, two, other):
        join(hub, session)

    hub.resources_changed(CLUSTER, ["a", "b", "x"])

    assert one.heard == [(CLUSTER, ("a", "b"))]
    assert two.heard == [(CLUSTER, ("b",))]
    assert other.heard == []
    assert (one.wakes, two.wakes, other.wakes) == (1, 1, 0)


def test_types_are_apart() -> None:
    hub = Hub()
    session = FakeSession("a")
    join(hub, session)

    hub.resources_changed(ROUTE, ["a"])

    assert session.heard == []


def test_a_change_for_a_group_stays_in_the_group() -> None:
    hub = Hub()
    here, there, idle = FakeSession("a"), FakeSession("a"), FakeSession("b")
    join(hub, here, "here")
    join(hub, there, "there")
    join(hub, idle, "here")

    hub.resources_changed(CLUSTER, ["a"], group="here")
    hub.resources_changed(CLUSTER, ["a"], group="nobody")

    assert (here.wakes, there.wakes, idle.wakes) == (1, 0, 0)
    assert there.heard == []


def test_a_wildcard_wakes_the_streams_of_its_group_that_have_one() -> None:
    hub = Hub()
    with_one, without, there = (
        FakeSession(wildcard=True),
        FakeSession(),
        FakeSession(wildcard=True),
    )
    join(hub, with_one, "here")
    join(hub, without, "here")
    join(hub, there, "there")

    hub.wildcard_changed(CLUSTER, "here")
    hub.wildcard_changed(CLUSTER, "nobody")

    assert (with_one.wakes, without.wakes, there.wakes) == (1, 0, 0)


def test_the_index_follows_the_subscriptions() -> None:
    hub = Hub()
    session = FakeSession("a")
    member = join(hub, session)
    session.leave("a")
    session.leave("never had")
    session.want("b")
    hub.follow(member)

    hub.resources_changed(CLUSTER, ["a"])
    hub.resources_changed(CLUSTER, ["b"])

    assert session.heard == [(CLUSTER, ("b",))]


def test_a_stream_that_has_left_is_forgotten() -> None:
    hub = Hub()
    session, stays = FakeSession("a"), FakeSession("a")
    member = join(hub, session)
    join(hub, stays)
    session.want("late")

    hub.leave(member)
    hub.resources_changed(CLUSTER, ["a", "late"])
    hub.resources_changed(CLUSTER, ["a"], group="g")

    assert session.heard == []
    assert stays.wakes == 2
    assert len(hub) == 1


def test_nothing_is_left_when_all_have_left() -> None:
    hub = Hub()
    members = [join(hub, FakeSession("a", "b"), group) for group in ("g", "g", "h")]

    for member in members:
        hub.leave(member)

    assert len(hub) == 0
    assert not any(hub._by_name.values())
    assert not hub._by_group


def test_a_hub_without_names_tells_the_group_that_a_change_is_for() -> None:
    hub = Hub(by_name=False)
    here, there = FakeSession("a"), FakeSession("a")
    member = join(hub, here, "here")
    join(hub, there, "there")
    here.want("b")
    hub.follow(member)

    hub.resources_changed(CLUSTER, ["b"], "here")

    assert (here.heard, there.heard) == ([(CLUSTER, ("b",))], [])
    assert here.changes == []  # taken from it, or they would grow for ever
    hub.leave(member)
    hub.resources_changed(CLUSTER, ["a"], "here")
    assert len(here.heard) == 1


def test_a_change_for_no_group_is_an_error_where_no_names_are_kept() -> None:
    hub = Hub(by_name=False)

    with pytest.raises(ValueError, match=CLUSTER):
        hub.resources_changed(CLUSTER, ["a"])
