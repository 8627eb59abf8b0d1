"""Delays what follows from changes that come soon after another.

One cloud that flaps changes each fan-out that it is part of, and a plan of thousands of clouds is
made anew each time. So a fan-out rests after a change.
"""

from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Final

from scopeway.control_plane.serving.policy_index import Timer

REST: Final = 1.0
"""Seconds between two changes of one fan-out that its sites are told of."""


class Debounce:
    """Names that have changed a moment ago."""

    def __init__(self, tell: Callable[[Collection[str]], None], timer: Timer | None) -> None:
        """Begin with none.

        Args:
            tell: Is called with names that have changed again during their rest, after it.
            timer: None: nothing ever rests.
        """
        self._tell = tell
        self._timer = timer
        self._resting: dict[str, bool] = {}
        """The names that rest, and whether they have changed meanwhile."""

    def due(self, names: Iterable[str]) -> list[str]:
        """Note that names have changed; return those that do not rest, which rest from now on."""
        due = []
        for name in names:
            if name in self._resting:
                self._resting[name] = True
            else:
                due.append(name)
        self._rest(due)
        return due

    def _rest(self, names: Collection[str]) -> None:
        if names and self._timer is not None:
            self._resting.update(dict.fromkeys(names, False))
            self._timer.call_later(REST, partial(self._wake, names))

    def _wake(self, names: Collection[str]) -> None:
        changed = [name for name in names if self._resting.pop(name)]
        self._rest(changed)
        if changed:
            self._tell(changed)
