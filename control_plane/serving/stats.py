"""What the source counts, for metrics."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from scopeway.control_plane.planner.plan import Cause

ANSWER_BOUNDS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.1)
"""Seconds; for the histogram of how long a target takes to plan and compile."""


@dataclass(slots=True, kw_only=True)
class SourceStats:
    """Counters and gauges, for metrics."""

    streams: int = 0
    """Streams attached now."""
    attached: int = 0
    """Streams attached since the start."""
    targets: int = 0
    """Distinct targets of all sites that have a stream, or are remembered."""
    compiled: int = 0
    """Clusters compiled since the start."""
    refused: int = 0
    """Targets refused since the start because a stream had reached one of its limits."""
    skipped: Mapping[Cause, int] = field(default_factory=dict)
    """How often plans skipped clouds of an `|` or of labels since the start, by cause."""
    answers: list[int] = field(default_factory=lambda: [0] * (len(ANSWER_BOUNDS) + 1))
    """Targets planned and compiled, by how long it took: up to each of ANSWER_BOUNDS, and more."""
    answer_seconds: float = 0.0
    """All that time together."""
    prefetched_clouds: int = 0
    """Clouds whose targets every Envoy gets before it asks."""
    prefetch_left_out: int = 0
    """Clouds that were selected, too, and are too many."""
