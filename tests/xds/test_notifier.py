from collections.abc import Collection, Iterator

import pytest

from scopeway.xds.notifier import ChangeNotifier, Member
from scopeway.xds.type_urls import CLUSTER, ROUTE


class FakeSession:
    """A session that wants given names, and records its notifications."""

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

    def on_change(self) -> None:
        self.wakes += 1


def join(notifier: ChangeNotifier, session: FakeSession, group: str = "g") -> Member:
    return notifier.join(session, group, session.on_change)


def test_only_the_streams_that_want_a_name_are_notified() -> None:
    notifier = ChangeNotifier()
    one, two, other = FakeSession("a", "b"), FakeSession("b"), FakeSession("c")
    for session in (one, two, other):
        join(notifier, session)

    notifier.resources_changed(CLUSTER, ["a", "b", "x"])

    assert one.heard == [(CLUSTER, ("a", "b"))]
    assert two.heard == [(CLUSTER, ("b",))]
    assert other.heard == []
    assert (one.wakes, two.wakes, other.wakes) == (1, 1, 0)


def test_the_same_name_of_another_type_is_not_notified() -> None:
    notifier = ChangeNotifier()
    session = FakeSession("a")
    join(notifier, session)

    notifier.resources_changed(ROUTE, ["a"])

    assert session.heard == []


def test_a_change_for_a_group_notifies_only_the_group() -> None:
    notifier = ChangeNotifier()
    here, there, idle = FakeSession("a"), FakeSession("a"), FakeSession("b")
    join(notifier, here, "here")
    join(notifier, there, "there")
    join(notifier, idle, "here")

    notifier.resources_changed(CLUSTER, ["a"], group="here")
    notifier.resources_changed(CLUSTER, ["a"], group="nobody")

    assert (here.wakes, there.wakes, idle.wakes) == (1, 0, 0)
    assert there.heard == []


def test_a_wildcard_change_notifies_the_wildcard_streams_of_its_group() -> None:
    notifier = ChangeNotifier()
    with_one, without, there = (
        FakeSession(wildcard=True),
        FakeSession(),
        FakeSession(wildcard=True),
    )
    join(notifier, with_one, "here")
    join(notifier, without, "here")
    join(notifier, there, "there")

    notifier.wildcard_changed(CLUSTER, "here")
    notifier.wildcard_changed(CLUSTER, "nobody")

    assert (with_one.wakes, without.wakes, there.wakes) == (1, 0, 0)


def test_the_index_is_updated_with_the_subscriptions() -> None:
    notifier = ChangeNotifier()
    session = FakeSession("a")
    member = join(notifier, session)
    session.leave("a")
    session.leave("never had")
    session.want("b")
    notifier.update_interests(member)

    notifier.resources_changed(CLUSTER, ["a"])
    notifier.resources_changed(CLUSTER, ["b"])

    assert session.heard == [(CLUSTER, ("b",))]


def test_a_stream_that_has_left_is_not_notified() -> None:
    notifier = ChangeNotifier()
    session, stays = FakeSession("a"), FakeSession("a")
    member = join(notifier, session)
    join(notifier, stays)
    session.want("late")

    notifier.leave(member)
    notifier.resources_changed(CLUSTER, ["a", "late"])
    notifier.resources_changed(CLUSTER, ["a"], group="g")

    assert session.heard == []
    assert stays.wakes == 2
    assert len(notifier) == 1


def test_the_index_is_empty_when_all_streams_have_left() -> None:
    notifier = ChangeNotifier()
    members = [join(notifier, FakeSession("a", "b"), group) for group in ("g", "g", "h")]

    for member in members:
        notifier.leave(member)

    assert len(notifier) == 0
    assert not any(notifier._by_name.values())
    assert not notifier._by_group


def test_a_notifier_without_names_notifies_the_group() -> None:
    notifier = ChangeNotifier(by_name=False)
    here, there = FakeSession("a"), FakeSession("a")
    member = join(notifier, here, "here")
    join(notifier, there, "there")
    here.want("b")
    notifier.update_interests(member)

    notifier.resources_changed(CLUSTER, ["b"], "here")

    assert (here.heard, there.heard) == ([(CLUSTER, ("b",))], [])
    assert here.changes == []  # taken from it, or they would grow for ever
    notifier.leave(member)
    notifier.resources_changed(CLUSTER, ["a"], "here")
    assert len(here.heard) == 1


def test_a_change_without_a_group_is_an_error_if_no_names_are_indexed() -> None:
    notifier = ChangeNotifier(by_name=False)

    with pytest.raises(ValueError, match=CLUSTER):
        notifier.resources_changed(CLUSTER, ["a"])
