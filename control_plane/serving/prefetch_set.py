"""The clouds whose targets every Envoy gets before it asks: `--prefetch`.

Owns the set of clouds that the operator's expressions select. The set is the same for every Envoy
and on every replica, so an Envoy can move between replicas without a change. A change of a cloud
costs O(expressions), a change of the set O(its limit).
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from typing import Final, assert_never

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import has_labels
from scopeway.control_plane.planner.planner import PlanSettings, atoms
from scopeway.control_plane.planner.prefetch import prefetch_targets
from scopeway.control_plane.scope import CloudName, Expression, LabelSelector, Local
from scopeway.xds.steps import Steps

LIMIT: Final = 100
"""Clouds; each costs an Envoy a cluster for every service that it may use there."""


class PrefetchSet:
    """The clouds that some expressions select, the first `limit` by name."""

    def __init__(
        self, expressions: Sequence[Expression], inventory: Inventory, *, limit: int = LIMIT
    ) -> None:
        """Select from all clouds; O(clouds) once."""
        self._names: set[str] = set()
        self._labels: list[tuple[tuple[str, str], ...]] = []
        self._limit = limit
        for expression in expressions:
            for atom in atoms(expression):
                match atom:
                    case CloudName(name):
                        self._names.add(name)
                    case LabelSelector(labels):
                        self._labels.append(labels)
                    case Local():
                        raise AssertionError("refused by parse_prefetch")
                    case _:
                        assert_never(atom)
        self._selected = sorted(cloud.name for cloud in inventory if self._selects(cloud))
        self._clouds = frozenset(self._selected[:limit])

    @property
    def clouds(self) -> frozenset[str]:
        """Their names."""
        return self._clouds

    @property
    def left_out(self) -> int:
        """How many more were selected than the limit allows."""
        return max(len(self._selected) - self._limit, 0)

    def update(self, inventory: Inventory, changed: Collection[str]) -> Steps[frozenset[str]]:
        """Apply changed clouds; return those whose prefetched targets may have changed.

        In steps. These are the clouds of the set among them, and those that came or left it.
        """
        before = self._clouds
        moved = False
        for name in changed:
            moved |= self._move(name, inventory.get(name))
            yield
        if moved:
            self._clouds = frozenset(self._selected[: self._limit])
        return (before ^ self._clouds if moved else frozenset()) | self._clouds.intersection(
            changed
        )

    def refresh(
        self,
        prefetched_targets: dict[str, frozenset[str]],
        clouds: Collection[str],
        *,
        caller: Cloud | None,
        inventory: Inventory,
        settings: PlanSettings,
    ) -> bool:
        """Bring what one site gets of some clouds up to date; return whether that has changed.

        Args:
            prefetched_targets: Cloud of this set to its targets for the site; is changed.
            clouds: The clouds to look at.
            caller: The site's own cloud; None: it is not registered, and gets nothing.
            inventory: All clouds.
            settings: What the operator decides about plans.
        """
        changed = False
        for name in clouds:
            targets: frozenset[str] = frozenset()
            if caller is not None and name in self._clouds:
                targets = prefetch_targets(name, caller, inventory, settings)
            if targets != prefetched_targets.get(name, frozenset()):
                changed = True
                prefetched_targets.pop(name, None)
                if targets:
                    prefetched_targets[name] = targets
        return changed

    def _selects(self, cloud: Cloud) -> bool:
        return cloud.name in self._names or any(has_labels(cloud, each) for each in self._labels)

    def _move(self, name: str, cloud: Cloud | None) -> bool:
        """Select a cloud, or do so no more; return whether that is a change."""
        at = bisect_left(self._selected, name)
        was = at < len(self._selected) and self._selected[at] == name
        now = cloud is not None and self._selects(cloud)
        if now and not was:
            self._selected.insert(at, name)
        elif was and not now:
            del self._selected[at]
        return was != now
