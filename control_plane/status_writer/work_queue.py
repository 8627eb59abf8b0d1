"""The objects whose status has to be looked at. Pure; its caller has the clock.

An object is taken by one worker at a time. What people wait for goes before what is looked at for
completeness, such as all objects after a change of leaders.
"""

from collections.abc import Iterable
from heapq import heappop, heappush

from scopeway.control_plane.registry.interface import Place

FIRST_DELAY = 1.0
"""Seconds until an object whose write has failed is tried again; each further one doubles it."""
LONGEST_DELAY = 300.0


class WorkQueue:
    """The places to look at, each once."""

    def __init__(self) -> None:
        self._urgent: dict[Place, None] = {}
        self._others: dict[Place, None] = {}
        self._taken: dict[Place, bool] = {}
        """Places that a worker has, and whether they were added meanwhile."""
        self._failures: dict[Place, int] = {}
        self._later: list[tuple[float, Place]] = []
        self._due: dict[Place, float] = {}
        """When the places of `_later` are due; entries of other times there don't count."""

    def __len__(self) -> int:
        """Return how many places wait, without those that are tried again later."""
        return len(self._urgent) + len(self._others)

    def add(self, places: Iterable[Place], *, urgent: bool = True) -> None:
        """Add places; those that a worker has come again once it is done."""
        for place in places:
            if place in self._taken:
                self._taken[place] = True
            elif urgent:
                self._others.pop(place, None)
                self._urgent[place] = None
            elif place not in self._urgent:
                self._others[place] = None

    def take(self, now: float) -> Place | None:
        """Return the next place, which is the caller's until `done` or `failed`; None: none."""
        while self._later and self._later[0][0] <= now:
            due, place = heappop(self._later)
            if self._due.get(place) == due:
                del self._due[place]
                self.add([place], urgent=False)
        for places in (self._urgent, self._others):
            if places:
                place = next(iter(places))
                del places[place]
                self._taken[place] = False
                return place
        return None

    def wait(self, now: float) -> float | None:
        """Return the seconds until there may be something to take; None: only what is added."""
        if len(self):
            return 0.0
        return max(self._later[0][0] - now, 0.0) if self._later else None

    def done(self, place: Place) -> None:
        """Give a place back: its status is right, or it is gone."""
        self._failures.pop(place, None)
        self._give_back(place)

    def failed(self, place: Place, now: float) -> None:
        """Give a place back whose status could not be written: it is tried again later."""
        failures = self._failures.get(place, 0)
        self._failures[place] = failures + 1
        if not self._give_back(place):
            delay = min(FIRST_DELAY * 2.0 ** min(failures, 16), LONGEST_DELAY)
            self._put_off(place, now + delay)

    def postpone(self, place: Place, until: float) -> None:
        """Give a place back that must not be written before."""
        if not self._give_back(place):
            self._put_off(place, until)

    def clear(self) -> None:
        """Forget all but what workers have."""
        self._urgent.clear()
        self._others.clear()
        self._later.clear()
        self._due.clear()
        self._failures.clear()
        self._taken = dict.fromkeys(self._taken, False)

    def _put_off(self, place: Place, until: float) -> None:
        if self._due.get(place, until + 1) > until:
            self._due[place] = until
            heappush(self._later, (until, place))

    def _give_back(self, place: Place) -> bool:
        again = self._taken.pop(place)
        if again:
            self._urgent[place] = None
        return again
