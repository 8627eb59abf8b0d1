"""Lookups that the source answers later; of one type on one stream.

Owns which are under way and what they brought. An answer is kept as long as the client wants the
name and it does not change: a complete state is looked up as a whole, again and again. Awaits
nothing: that is done by whoever has taken a `Lookup` from the session.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

from scopeway.xds.arguments import close_unawaited, described
from scopeway.xds.resource import Resource
from scopeway.xds.source import PENDING, Found
from scopeway.xds.text import shown

_PLACE: Final = "NodeView.resource({!r}, {!r})"


class Lookup:
    """One lookup that the source answers later.

    Whoever takes it from `Session.new_lookups` awaits `answer` and hands what came of it to
    `Session.lookup_finished`.
    """

    __slots__ = ("_on_abandoned", "answer", "is_abandoned", "name", "type_url")

    def __init__(self, type_url: str, name: str, answer: Awaitable[Any]) -> None:
        self.type_url = type_url
        self.name = name
        self.answer = answer
        """To be awaited once, or closed if it is a coroutine."""
        self.is_abandoned = False
        """Nobody wants the answer any more."""
        self._on_abandoned: Callable[[], object] | None = None

    def on_abandoned(self, call: Callable[[], object]) -> None:
        """Have a function called as soon as nobody wants the answer any more."""
        self._on_abandoned = call

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        self.is_abandoned = True
        if self._on_abandoned is not None:
            self._on_abandoned()

    def close(self) -> None:
        """The answer will not be awaited."""
        close_unawaited(self.answer)


class Lookups:
    """The lookups of one type on one stream."""

    __slots__ = ("_answers", "_changed", "_new", "_running")

    def __init__(self) -> None:
        self._running: dict[str, Lookup] = {}
        self._changed: set[str] = set()  # of those running: what comes may be outdated
        self._answers: dict[str, Found | Exception] = {}
        self._new: list[Lookup] = []

    def __contains__(self, name: str) -> bool:
        return name in self._running or name in self._answers

    def start(self, type_url: str, name: str, answer: Awaitable[Any]) -> None:
        """The source has said that it answers later."""
        self._running[name] = lookup = Lookup(type_url, name, answer)
        self._new.append(lookup)

    def answer(self, name: str) -> Found:
        """Return what a lookup has brought, PENDING while it is under way; raise its error once."""
        found = self._answers.get(name, PENDING)
        if isinstance(found, Exception):
            del self._answers[name]
            raise found
        return found

    def peek(self, name: str) -> Found:
        """As `answer`, without an effect."""
        found = self._answers.get(name, PENDING)
        if isinstance(found, Exception):
            raise found
        return found

    def drop_answer(self, name: str) -> None:
        """The client asks for the name again: what was looked up before counts no more."""
        self._answers.pop(name, None)

    def outdate(self, name: str) -> None:
        """The resource may have changed: what was looked up, or is about to be, counts no more."""
        self._answers.pop(name, None)
        if name in self._running:
            self._changed.add(name)

    def finish(self, lookup: Lookup, answer: object) -> bool:
        """Take in what a lookup has brought; return whether its name is to be looked at now."""
        name = lookup.name
        if self._running.get(name) is not lookup:
            return False
        del self._running[name]
        if name in self._changed:  # to be looked up again
            self._changed.remove(name)
        elif isinstance(answer, Exception):
            self._answers[name] = answer
        elif answer is PENDING:
            return False
        else:
            try:
                self._answers[name] = checked(lookup.type_url, name, answer)
            except Exception as error:
                self._answers[name] = error
        return True

    def discard(self, name: str) -> None:
        """The client does not want a name any more."""
        self._answers.pop(name, None)
        self._changed.discard(name)
        lookup = self._running.pop(name, None)
        if lookup is not None:
            lookup.abandon()

    def discard_all(self) -> None:
        """The client has gone."""
        for name in list(self._running):
            self.discard(name)
        for lookup in self.take_new():
            lookup.close()

    def take_new(self) -> list[Lookup]:
        """Return those that have begun since the last call."""
        new, self._new = self._new, []
        return new


def checked(type_url: str, name: str, found: object) -> Found:
    """Return what a source has answered, if it answers what was asked.

    Raises:
        TypeError: it is no resource.
        ValueError: it is a resource of another type or name.
    """
    if found is None or found is PENDING:
        return found
    if not isinstance(found, Resource):
        close_unawaited(found)
        raise TypeError(
            f"{_place(type_url, name)} returned {described(found)}, not a Resource, None or PENDING"
        )
    if found.name != name or found.type_url != type_url:
        raise ValueError(
            f"{_place(type_url, name)} returned another resource, {shown(found.name)!r} of "
            f"{shown(found.type_url)!r}"
        )
    return found


def _place(type_url: str, name: str) -> str:
    return _PLACE.format(shown(type_url), shown(name))
