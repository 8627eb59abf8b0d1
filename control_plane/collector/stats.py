"""What a collector counts of its requests."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Bounds of the histogram of requests."""
LEFT: Final = "left"
"""In place of a status: the client left before its answer."""


@dataclass(slots=True)
class RequestStats:
    """The requests that have ended."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By way, and by class of status (`2xx`, or LEFT)."""
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(SECONDS) + 1))

    def note(self, way: str, status: int, seconds: float) -> None:
        """Count a request that has ended; status 0: its client had left."""
        self.ended[way, f"{status // 100}xx" if status else LEFT] += 1
        self.seconds += seconds
        place = next((at for at, most in enumerate(SECONDS) if seconds <= most), len(SECONDS))
        self.buckets[place] += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a collector counts, at one time."""

    requests: RequestStats
    under_way: int
    asked: int
    answered: int
    retried: int
    cancelled: int
    failed: dict[str, int]
    sub_requests_under_way: int
    answer_bytes: int
    held_bytes: int
    held_bytes_max: int


@dataclass(slots=True)
class Counters:
    """What a collector has done since its start."""

    asked: int = 0
    """Sub-requests."""
    retried: int = 0
    """Sub-requests that were sent once more, as the control plane had not answered."""
    answered: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Sub-requests that failed, by cause."""
    bytes: int = 0
    """Of answers."""
