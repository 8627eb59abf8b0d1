"""Telling a storm of lost clouds from a few that were taken away (DESIGN section 6).

Owns the memory of recent losses. Pure: time is an argument. Knows no registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from control_plane.clouds.inventory import Inventory
from control_plane.clouds.model import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class StormLimits:
    """When losses are a storm."""

    share: float = 0.5
    """A storm is more than this share of all clouds..."""
    window: float = 30.0
    """...lost within so many seconds..."""
    least: int = 10
    """...of at least so many clouds. Fewer may well be taken away by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A cloud that is registered no more."""

    cloud: Cloud
    """Its last good version."""
    place: str
    """Where it was registered."""


class RecentLosses:
    """The clouds lost within the window, to be given back when it turns out to be a storm."""

    def __init__(self, limits: StormLimits) -> None:
        self._limits = limits
        self._losses: dict[str, tuple[float, Loss]] = {}
        """By the cloud's name, the oldest first."""

    def add(
        self, losses: Mapping[str, Loss], *, known: Inventory, now: float
    ) -> Mapping[str, Loss]:
        """Count losses; return those to undo: none, or in a storm all of the window.

        Args:
            losses: What was lost just now, by name.
            known: All clouds as they were before this loss.
            now: Seconds of a clock that never goes back.
        """
        self._forget_before(now - self._limits.window)
        for name, loss in losses.items():
            self._losses.pop(name, None)
            self._losses[name] = (now, loss)
        total = len(known) + sum(known.get(name) is None for name in self._losses)
        if total < self._limits.least or len(self._losses) <= self._limits.share * total:
            return {}
        return {name: loss for name, (_, loss) in self._losses.items()}

    def returned(self, name: str) -> None:
        """Take note that a cloud is registered again."""
        self._losses.pop(name, None)

    def _forget_before(self, time: float) -> None:
        for name, (when, _) in list(self._losses.items()):
            if when >= time:
                break
            del self._losses[name]
