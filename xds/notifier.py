"""Who wants to know what: from a change to exactly the streams that it concerns.

Owns the index from names to sessions and from groups to sessions. Does not know resources, and
sends nothing: it notes the change in the sessions and wakes them.

Invariant: after `update_interests`, the index of names, if there is one, holds a name for a session
if and only if its client wants it. The cost of a change is proportional to the streams that want it
(with a group: to the streams of the group), never to all streams or all resources.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol

from scopeway.xds.index import Index
from scopeway.xds.steps import Steps


class Session(Protocol):
    """What the notifier needs of a session (`xds.protocol.session.Session`)."""

    def resources_changed(self, type_url: str, names: Collection[str]) -> bool:
        """Note a change; return whether it concerns the client."""

    def wildcard_changed(self, type_url: str) -> bool:
        """Note that the wildcard means other names; return whether it concerns the client."""

    def caught_up(self) -> bool:
        """Note that the source is outdated no longer; return whether the client kept anything."""

    def interest_changes(self) -> Collection[tuple[str, str, bool]]:
        """Return (type URL, name, wanted) for names newly wanted or no longer wanted."""

    def interests(self) -> Iterator[tuple[str, str]]:
        """Yield (type URL, name) of everything wanted."""


class Member:
    """A session that has joined a notifier."""

    __slots__ = ("group", "on_change", "session")

    def __init__(self, session: Session, group: str, on_change: Callable[[], None]) -> None:
        self.session = session
        self.group = group
        self.on_change = on_change


class ChangeNotifier:
    """All sessions of a server; for use on one event loop.

    What it is told is only noted: nothing is looked up or sent before the loop's next turn, and all
    that is told until then, or until the client's ACK, goes together. From another thread:
    `loop.call_soon_threadsafe(notifier.resources_changed, type_url, names)`.

    Args:
        by_name: Whether it keeps which streams want a name, 50 bytes for each of both. False is for
            a source that keeps such a table itself: its changes name their groups.
    """

    def __init__(self, *, by_name: bool = True) -> None:
        self._by_name: dict[str, Index[str, Member]] | None = {} if by_name else None
        """By type URL."""
        self._by_group: Index[str, Member] = Index()
        self._size = 0

    # for the owner of the resources

    def resources_changed(
        self, type_url: str, names: Collection[str], group: str | None = None
    ) -> None:
        """Tell the streams that want one of these resources that it came, changed or went.

        The source already shows the new state. With `group`, only its nodes are told. Names that
        nobody wants, and resources that have not changed, are harmless. Costs O(streams that want
        them), with `group` O(its streams).

        Raises:
            ValueError: the notifier keeps no names, and no group is given.
        """
        concerned: Mapping[Member, Collection[str]]
        if group is None:
            concerned = self._members_by_names(type_url, names)
        else:
            concerned = dict.fromkeys(self._by_group.get(group), names)
        for member, its_names in concerned.items():
            if member.session.resources_changed(type_url, its_names):
                member.on_change()

    def wildcard_changed(self, type_url: str, group: str) -> None:
        """Tell the streams of a group that the wildcard of a type means other names now.

        The source already shows them. What the names hold is told by `resources_changed`. Costs
        O(streams of the group).
        """
        for member in self._by_group.get(group):
            if member.session.wildcard_changed(type_url):
                member.on_change()

    def caught_up(self) -> Steps[None]:
        """Tell all streams, in steps, that the source is outdated no longer (`MayBeOutdated`).

        The source already shows the new state. Costs O(streams, and what their clients have kept).
        """
        for group in list(self._by_group.keys()):
            for member in tuple(self._by_group.get(group)):
                if member.session.caught_up():
                    member.on_change()
                yield

    # for the owner of the streams

    def join(self, session: Session, group: str, on_change: Callable[[], None]) -> Member:
        """Add a session; `on_change` is called, once or more, when it has something to send."""
        member = Member(session, group, on_change)
        self._by_group.add(group, member)
        self._size += 1
        self.update_interests(member)
        return member

    def update_interests(self, member: Member) -> None:
        """Bring the index up to date with what the session's client wants.

        To be called after each use of the session, before anything else runs.
        """
        changes = member.session.interest_changes()
        if self._by_name is None:
            return
        for type_url, name, wanted in changes:
            if wanted:
                self._by_name.setdefault(type_url, Index()).add(name, member)
            else:
                self._drop(type_url, name, member)

    def leave(self, member: Member) -> None:
        """Remove a session; costs O(its names)."""
        self.update_interests(member)
        if self._by_name is not None:
            for type_url, name in member.session.interests():
                self._drop(type_url, name, member)
        self._by_group.discard(member.group, member)
        self._size -= 1

    def __len__(self) -> int:
        return self._size

    def _members_by_names(self, type_url: str, names: Collection[str]) -> dict[Member, list[str]]:
        if self._by_name is None:
            raise ValueError(
                f"a change of {type_url} for no group, and the notifier keeps no names"
            )
        concerned: dict[Member, list[str]] = {}
        if type_url not in self._by_name:
            return concerned
        for name in names:
            for member in self._by_name[type_url].get(name):
                concerned.setdefault(member, []).append(name)
        return concerned

    def _drop(self, type_url: str, name: str, member: Member) -> None:
        if self._by_name is not None and type_url in self._by_name:
            self._by_name[type_url].discard(name, member)
