"""Paces the changes of each entry, so that one entry cannot take all CPU time.

Keeps the last change of each entry that waits. After a change that was expensive to apply, the
entry rests before its next change. However often an entry is rewritten, it takes a small share of
the CPU, and delays other entries by at most one change. Pure: time is an argument.
"""

from collections.abc import Collection, Mapping
from typing import Final, Generic, TypeVar

from scopeway.control_plane.registry.interface import Place

_Change = TypeVar("_Change")

QUICK_SECONDS: Final = 0.005
"""An entry that is applied within this time does not rest."""
REST_FACTOR: Final = 10
"""An entry rests for the time that applying it took, times this factor."""
MAX_REST_SECONDS: Final = 2.0
"""The longest rest: the last change of an entry is applied no later than this."""


class ChangePacer(Generic[_Change]):
    """The last change of each entry that was not taken yet."""

    def __init__(self) -> None:
        self._waiting: dict[Place, _Change] = {}
        self._resting_until: dict[Place, float] = {}
        """The end of each entry's rest."""

    @property
    def waiting(self) -> Collection[_Change]:
        """The changes that were not taken yet."""
        return self._waiting.values()

    def add(self, place: Place, change: _Change) -> None:
        """Add the change of an entry; it replaces one that still waits."""
        self._waiting[place] = change

    def take_due(self, now: float) -> Mapping[Place, _Change]:
        """Remove and return the changes of all entries that do not rest."""
        self._resting_until = {
            place: until for place, until in self._resting_until.items() if until > now
        }
        due = {at: change for at, change in self._waiting.items() if at not in self._resting_until}
        self._waiting = {at: self._waiting[at] for at in self._resting_until if at in self._waiting}
        return due

    def seconds_until_due(self, now: float) -> float | None:
        """Return the seconds until a waiting change is due; None if no change waits."""
        if not self._waiting:
            return None
        return max(min(self._resting_until.get(place, now) for place in self._waiting) - now, 0.0)

    def record_cost(self, places: Collection[Place], seconds: float, now: float) -> None:
        """Record how long it took to apply the changes of some entries."""
        each = seconds / len(places)
        if each > QUICK_SECONDS:
            until = now + min(REST_FACTOR * each, MAX_REST_SECONDS)
            self._resting_until.update(dict.fromkeys(places, until))
