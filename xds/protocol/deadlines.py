"""Names and the time at which each is due, the earliest first.

A heap with lazy deletion: an entry whose name was removed, or got another time, stays in the heap
until it reaches the top or until such entries are the majority.
"""

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

_MIN_OUTDATED: Final = 16
"""Rebuilding the heap for fewer outdated entries costs more than keeping them."""


class Deadlines:
    """At most one deadline for each name. Times are seconds on the caller's clock."""

    __slots__ = ("_heap", "_times")

    def __init__(self) -> None:
        self._times: dict[str, float] = {}
        self._heap: list[tuple[float, str]] = []  # all of `_times`, and outdated entries

    def __contains__(self, name: str) -> bool:
        return name in self._times

    def at(self, name: str) -> float | None:
        """The deadline of a name; None if it has none."""
        return self._times.get(name)

    @property
    def next_at(self) -> float | None:
        """The earliest deadline; None if there is none."""
        while self._heap and self._is_outdated(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def set(self, name: str, at: float) -> None:
        """Set the deadline of a name, in place of the one it has. Costs O(log names)."""
        self._times[name] = at
        heappush(self._heap, (at, name))
        if len(self._heap) > 2 * len(self._times) + _MIN_OUTDATED:
            self._heap = sorted((at, name) for name, at in self._times.items())

    def discard(self, name: str) -> None:
        """Remove a name. Does nothing if it has no deadline."""
        self._times.pop(name, None)

    def pop_due(self, now: float) -> Iterator[str]:
        """Remove and yield each name whose deadline is not after `now`, one at a time.

        The caller may set new deadlines between two names.
        """
        while (at := self.next_at) is not None and at <= now:
            _, name = heappop(self._heap)
            del self._times[name]
            yield name

    def _is_outdated(self, entry: tuple[float, str]) -> bool:
        at, name = entry
        return self._times.get(name) != at
