"""When to look again at what the source failed to look up; of one type on one stream.

Owns the pauses: about a second after the first failure, twice as long after each further one, up to
a minute. Knows neither the source nor what is sent.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Final
from zlib import crc32

INITIAL_DELAY: Final = 1.0
MAX_DELAY: Final = 64.0
"""Seconds; each is longer by what `jitter` says."""
_SPARE: Final = 16
"""So many outdated entries of the heap cost less than to remove them."""


@dataclass(slots=True)
class _Retry:
    requested: bool
    delay: float = 0.0
    retry_at: float | None = None  # None: not known yet, or its time has come


class LookupBackoff:
    """The names that could not be looked up the last time that was tried."""

    __slots__ = ("_failed", "_heap", "_names")

    def __init__(self) -> None:
        self._names: dict[str, _Retry] = {}
        self._failed: list[str] = []  # since the last `schedule_retries`
        self._heap: list[tuple[float, str]] = []  # those with a time, and some that are outdated

    def __bool__(self) -> bool:
        return bool(self._names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    @property
    def next_at(self) -> float | None:
        """When the next one is due; None: never."""
        while self._heap and self._is_outdated(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def was_requested(self, name: str) -> bool:
        """Return whether the client has asked for a name and had no answer."""
        return name in self._names and self._names[name].requested

    def record_failure(self, name: str, requested: bool) -> None:
        """It could not be looked up; `schedule_retries` says when to try again.

        One that was tried before its time, since the source told of it, keeps that time.
        """
        retry = self._names.setdefault(name, _Retry(requested))
        retry.requested = retry.requested or requested
        if retry.retry_at is None:
            self._failed.append(name)

    def schedule_retries(self, now: float, jitter: float) -> None:
        """Give what has failed since the last call its time; `jitter` is as of `jitter`."""
        failed, self._failed = self._failed, []
        for name in dict.fromkeys(failed):
            retry = self._names.get(name)
            if retry is None:
                continue
            retry.delay = min(2 * retry.delay, MAX_DELAY) or INITIAL_DELAY
            retry.retry_at = now + retry.delay * (1 + jitter)
            heappush(self._heap, (retry.retry_at, name))
        if len(self._heap) > 2 * len(self._names) + _SPARE:
            self._heap = [entry for entry in self._heap if not self._is_outdated(entry)]
            heapify(self._heap)

    def discard(self, name: str) -> None:
        """It could be looked up, or nobody wants it any more."""
        self._names.pop(name, None)

    def pop_due(self, now: float) -> Iterator[tuple[str, bool]]:
        """Yield each name whose time has come, once, and whether the client asked for it."""
        while (retry_at := self.next_at) is not None and retry_at <= now:
            _, name = heappop(self._heap)
            retry = self._names[name]
            retry.retry_at = None
            yield name, retry.requested

    def _is_outdated(self, entry: tuple[float, str]) -> bool:
        retry_at, name = entry
        return name not in self._names or self._names[name].retry_at != retry_at


def jitter(node_id: str) -> float:
    """Return by which share a node waits longer, from 0 to a half: the same one for ever.

    What fails for many nodes fails at one time, and should not be asked for by all at one time.
    """
    return crc32(node_id.encode()) / (2 << 32)
