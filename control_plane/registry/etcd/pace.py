"""In which order, and how often, changes of entries are handed on.

Owns the last change of each entry that waits. An entry that takes long to take over rests before
its next change: it may be rewritten as often as somebody likes, and still takes a small share of
the processor and holds up the others for one of its changes at most. Pure: time is an argument.
"""

from collections.abc import Collection, Mapping
from typing import Final, Generic, TypeVar

from scopeway.control_plane.registry.protocol import Place

_Change = TypeVar("_Change")

QUICK: Final = 0.005
"""Seconds; what is taken over as quickly rests for nothing."""
REST: Final = 10
"""How many times as long as it took to take over an entry it rests."""
LONGEST_REST: Final = 2.0
"""Seconds; so late at most the last change of an entry is taken over."""


class Pace(Generic[_Change]):
    """The last change of each entry that was not handed on yet."""

    def __init__(self) -> None:
        self._waiting: dict[Place, _Change] = {}
        self._rested: dict[Place, float] = {}
        """Until when an entry rests."""

    @property
    def waiting(self) -> Collection[_Change]:
        """What is not handed on yet."""
        return self._waiting.values()

    def add(self, place: Place, change: _Change) -> None:
        """An entry has changed; its change before is forgotten if it still waits."""
        self._waiting[place] = change

    def take(self, now: float) -> Mapping[Place, _Change]:
        """Return the changes of all entries that don't rest, which are handed on now."""
        self._rested = {place: until for place, until in self._rested.items() if until > now}
        due = {at: change for at, change in self._waiting.items() if at not in self._rested}
        self._waiting = {at: self._waiting[at] for at in self._rested if at in self._waiting}
        return due

    def pause(self, now: float) -> float | None:
        """Return the seconds until the first change that waits may be taken; None: none waits."""
        if not self._waiting:
            return None
        return max(min(self._rested.get(place, now) for place in self._waiting) - now, 0.0)

    def took(self, places: Collection[Place], seconds: float, now: float) -> None:
        """So long it took to take over some entries."""
        each = seconds / len(places)
        if each > QUICK:
            until = now + min(REST * each, LONGEST_REST)
            self._rested.update(dict.fromkeys(places, until))
