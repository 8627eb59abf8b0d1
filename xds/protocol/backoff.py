"""When to repeat failed lookups, for one resource type on one stream.

The delay is about one second after the first failure, doubles with each further one, and is at most
about a minute. Knows neither the source nor what is sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from scopeway.xds.protocol.deadlines import Deadlines

INITIAL_DELAY: Final = 1.0
MAX_DELAY: Final = 64.0
"""Seconds, before `jitter` is added."""


@dataclass(slots=True)
class _UnfinishedLookup:
    requested: bool
    delay: float = 0.0
    is_pending: bool = False  # it did not fail: the source does not know the name yet


class LookupBackoff:
    """The names whose last lookup failed, or that the source does not know yet."""

    __slots__ = ("_deadlines", "_lookups", "_unscheduled")

    def __init__(self) -> None:
        self._lookups: dict[str, _UnfinishedLookup] = {}
        self._unscheduled: list[str] = []  # failed since the last `schedule_retries`
        self._deadlines = Deadlines()

    def __bool__(self) -> bool:
        return bool(self._lookups)

    def __contains__(self, name: str) -> bool:
        return name in self._lookups

    def __iter__(self) -> Iterator[str]:
        return iter(self._lookups)

    @property
    def next_at(self) -> float | None:
        """When the next retry is due; None if none is scheduled."""
        return self._deadlines.next_at

    def was_requested(self, name: str) -> bool:
        """Return whether the client requested a name and has not had a response about it."""
        return name in self._lookups and self._lookups[name].requested

    def seconds_until_retry(self, name: str, now: float) -> float | None:
        """Return the seconds until the retry of a name; None if none is scheduled."""
        at = self._deadlines.at(name)
        return None if at is None else max(0.0, at - now)

    def record_failure(self, name: str, requested: bool) -> None:
        """Record a failed lookup. `schedule_retries` then sets the time of the next attempt.

        If a retry is scheduled already, because the lookup was an early one after a change of the
        resource, the retry keeps its time.
        """
        lookup = self._lookups.setdefault(name, _UnfinishedLookup(requested))
        lookup.requested = lookup.requested or requested
        lookup.is_pending = False
        if name not in self._deadlines:
            self._unscheduled.append(name)

    def wait(self, name: str, requested: bool) -> None:
        """Record that the source does not know a name yet. No retry is scheduled."""
        lookup = self._lookups.setdefault(name, _UnfinishedLookup(requested))
        lookup.requested = lookup.requested or requested
        lookup.is_pending, lookup.delay = True, 0.0
        self._deadlines.discard(name)

    def is_pending(self, name: str) -> bool:
        """Return whether the source does not know a name yet."""
        return name in self._lookups and self._lookups[name].is_pending

    def pending_names(self) -> Iterator[str]:
        """Yield the names that the source does not know yet."""
        return (name for name, lookup in self._lookups.items() if lookup.is_pending)

    def schedule_retries(self, now: float, jitter: float) -> None:
        """Schedule a retry for each lookup that failed since the last call.

        Args:
            now: The time.
            jitter: What the function `jitter` returns for the client.
        """
        names, self._unscheduled = self._unscheduled, []
        for name in dict.fromkeys(names):
            lookup = self._lookups.get(name)
            if lookup is None or lookup.is_pending:
                continue
            lookup.delay = min(2 * lookup.delay, MAX_DELAY) or INITIAL_DELAY
            self._deadlines.set(name, now + lookup.delay * (1 + jitter))

    def discard(self, name: str) -> None:
        """Forget a name: its lookup succeeded, or no client wants it any more."""
        self._lookups.pop(name, None)
        self._deadlines.discard(name)

    def pop_due(self, now: float) -> Iterator[tuple[str, bool]]:
        """Yield each name whose retry is due, once, and whether the client requested it."""
        for name in self._deadlines.pop_due(now):
            yield name, self._lookups[name].requested


def jitter(node_id: str) -> float:
    """Return the share, from 0 to 0.5, by which the delays of a node are longer.

    A node always has the same one. Lookups that fail for many nodes fail at the same time; the
    jitter spreads their retries.
    """
    return crc32(node_id.encode()) / (2 << 32)
