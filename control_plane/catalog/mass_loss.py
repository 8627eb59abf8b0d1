"""Detects a mass loss: so many clouds are lost at once that nobody has removed them by hand.

Owns the record of recent losses. Pure: time is an argument. Knows no registry.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud


@dataclass(frozen=True, slots=True, kw_only=True)
class MassLossLimits:
    """When losses are a mass loss."""

    share: float = 0.5
    """A mass loss is more than this share of all clouds..."""
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


def is_mass_loss(lost: int, total: int, limits: MassLossLimits | None = None) -> bool:
    """Tell whether so many of so many clouds are too many to be taken away by hand."""
    limits = limits or MassLossLimits()
    return total >= limits.least and lost > limits.share * total


class RecentLosses:
    """The clouds lost within the window, which a mass loss brings back."""

    def __init__(self, limits: MassLossLimits) -> None:
        self._limits = limits
        self._losses: dict[str, tuple[float, Loss]] = {}
        """By the cloud's name, the oldest first."""
        self._gone: dict[str, Loss] = {}
        """Those of them that were not undone: these clouds are not known now."""

    def add(
        self, losses: Mapping[str, Loss], *, known: Inventory, now: float
    ) -> Mapping[str, Loss]:
        """Count losses; return those to undo: in a mass loss all of the window that aren't yet.

        Costs O(losses) of this call, and of the window once for each mass loss.

        Args:
            losses: What was lost just now, by name; known until now, as what is undone is.
            known: All clouds as they were before this loss.
            now: Seconds of a clock that never goes back.
        """
        self._forget_before(now - self._limits.window)
        total = len(known) + len(self._gone)
        for name, loss in losses.items():
            self._losses.pop(name, None)
            self._losses[name] = (now, loss)
            self._gone[name] = loss
        if not is_mass_loss(len(self._losses), total, self._limits):
            return {}
        undone, self._gone = self._gone, {}
        return undone

    def returned(self, name: str) -> None:
        """Take note that a cloud is registered again."""
        self._losses.pop(name, None)
        self._gone.pop(name, None)

    def _forget_before(self, time: float) -> None:
        while self._losses:
            name, (when, _) = next(iter(self._losses.items()))
            if when >= time:
                return
            self.returned(name)
