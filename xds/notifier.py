"""Notifies exactly the streams that a change of resources concerns.

Owns the index from names to sessions and from groups to sessions. Does not know resources, and
sends nothing: it marks the change in the sessions and triggers their streams.

Invariant: after `update_interests`, the index of names, if there is one, holds a name for a session
if and only if its client wants it. A change costs O(streams that want it), or with a group
O(streams of the group), never O(all streams) or O(all resources).
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Protocol, runtime_checkable

from scopeway.xds.arguments import check_names
from scopeway.xds.multimap import Index
from scopeway.xds.steps import Steps
from scopeway.xds.text import shown


class Session(Protocol):
    """What the notifier needs of a session (`xds.protocol.session.Session`)."""

    def resources_changed(self, type_url: str, names: Collection[str]) -> bool:
        """Note a change; return whether it concerns the client."""

    def wildcard_changed(self, type_url: str) -> bool:
        """Note that the wildcard means other names; return whether it concerns the client."""

    def everything_changed(self) -> bool:
        """Note that anything may have changed; return whether the client wants anything."""

    def caught_up(self) -> bool:
        """Note that the source is up to date again; return whether the client kept resources."""

    def interest_changes(self) -> Collection[tuple[str, str, bool]]:
        """Return (type URL, name, wanted) for names newly wanted or no longer wanted."""

    def interests(self) -> Iterator[tuple[str, str]]:
        """Yield (type URL, name) of each resource that the client wants."""


class Member:
    """A session that has joined a notifier."""

    __slots__ = ("group", "on_change", "session")

    def __init__(self, session: Session, group: str, on_change: Callable[[], None]) -> None:
        self.session = session
        self.group = group
        self.on_change = on_change


class ChangeNotifier:
    """Tells the streams of a server about changes. Use it on one event loop.

    Its methods only mark changes: nothing is looked up or sent before the next turn of the event
    loop. All changes until then, or until the client's ACK, are sent together. From another thread,
    call `loop.call_soon_threadsafe(notifier.resources_changed, type_url, names)`.

    Args:
        by_name: Whether to keep an index from names to streams, which takes 50 bytes for each name
            of each stream. Pass False if the source always names the group of a change.
    """

    def __init__(self, *, by_name: bool = True) -> None:
        self._by_name: dict[str, Index[str, Member]] | None = {} if by_name else None
        """By type URL."""
        self._by_group: Index[str, Member] = Index()
        self._size = 0
        self._served: Callable[[], Collection[str]] | None = None

    # for the owner of the resources

    def resources_changed(
        self, type_url: str, names: Collection[str], group: str | None = None
    ) -> None:
        """Notify the streams that want one of these resources: it was added, changed or removed.

        The source must return the new state before the call. With `group`, only streams of that
        group are notified. Names that no client wants, unchanged resources, and groups without
        streams do no harm. Costs O(streams that want them), with `group` O(streams of the group).

        Raises:
            TypeError: `names` is a string, not a collection of names.
            ValueError: the source does not serve the type; or the notifier has no index of names,
                and no group is given.
        """
        check_names(names, "names")
        self._check_type(type_url)
        concerned: Mapping[Member, Collection[str]]
        if group is None:
            concerned = self._members_by_names(type_url, names)
        else:
            concerned = dict.fromkeys(self._by_group.get(group), names)
        for member, its_names in concerned.items():
            if member.session.resources_changed(type_url, its_names):
                member.on_change()

    def wildcard_changed(self, type_url: str, group: str) -> None:
        """Notify the streams of a group that the wildcard of a type means other names.

        The source must return the new names before the call. If resources changed too, call
        `resources_changed` as well. Costs O(streams of the group).

        Raises:
            ValueError: the source does not serve the type.
        """
        self._check_type(type_url)
        for member in self._by_group.get(group):
            if member.session.wildcard_changed(type_url):
                member.on_change()

    def everything_changed(self, group: str | None = None) -> None:
        """Notify the streams of a group, or all streams, that any resource may have changed.

        The source must return the new state before the call. Unchanged resources are not sent
        again. Costs O(streams, and the names that their clients want).
        """
        groups = list(self._by_group.keys()) if group is None else [group]
        for each in groups:
            for member in tuple(self._by_group.get(each)):
                if member.session.everything_changed():
                    member.on_change()

    def caught_up(self) -> Steps[None]:
        """Notify all streams, in steps, that the source is up to date again (`MayBeOutdated`).

        The source must return the new state before the call. Costs O(streams and kept resources).
        """
        for group in list(self._by_group.keys()):
            for member in tuple(self._by_group.get(group)):
                if member.session.caught_up():
                    member.on_change()
                yield

    # for the owner of the streams

    def check_against(self, type_urls: Callable[[], Collection[str]]) -> None:
        """Refuse changes of types that the source does not serve (`Source.type_urls`)."""
        self._served = type_urls

    def join(self, session: Session, group: str, on_change: Callable[[], None]) -> Member:
        """Add a session. `on_change` is called, at least once, when it has something to send."""
        member = Member(session, group, on_change)
        self._by_group.add(group, member)
        self._size += 1
        self.update_interests(member)
        return member

    def update_interests(self, member: Member) -> None:
        """Update the index with the names that the session's client wants.

        Call it after each use of the session, before anything else runs.
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
        """Remove a session. Costs O(its names)."""
        self.update_interests(member)
        if self._by_name is not None:
            for type_url, name in member.session.interests():
                self._drop(type_url, name, member)
        self._by_group.discard(member.group, member)
        self._size -= 1

    def __len__(self) -> int:
        return self._size

    def _check_type(self, type_url: str) -> None:
        if self._served is not None and type_url not in self._served():
            raise ValueError(
                f"a change of {shown(type_url)!r}, which is none of the types that the source "
                f"serves (Source.type_urls): {', '.join(sorted(self._served()))}"
            )

    def _members_by_names(self, type_url: str, names: Collection[str]) -> dict[Member, list[str]]:
        if self._by_name is None:
            raise ValueError(
                f"change of {type_url} without a group, but the notifier has no index of names"
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


@runtime_checkable
class HasNotifier(Protocol):
    """What a `Source` may have besides, where it tells by itself what changes, as the caches do."""

    @property
    def notifier(self) -> ChangeNotifier:
        """The notifier that it tells; `serve` takes it from here."""
