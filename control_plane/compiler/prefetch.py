"""Which targets an Envoy gets before it asks for them: those of its own cloud, and `--prefetch`.

Owns the set of clouds that the operator's expressions select, and what of a cloud is prefetched for
a caller. The set is the same for every Envoy and at every replica, so that one may move without a
change. A change of a cloud costs O(expressions), and one of the set O(its limit); not a value: it
follows the inventory.
"""

from bisect import bisect_left
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Final, assert_never

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import bears
from scopeway.control_plane.compiler.outcome import Rejection
from scopeway.control_plane.compiler.plan import PlanSettings, atoms, plan
from scopeway.control_plane.scope import (
    IDENTITY_VALIDATE,
    CloudName,
    Expression,
    LabelSelector,
    Local,
    ScopeError,
    Target,
    parse_expression,
    target_name,
    unsupported_operator,
)
from scopeway.xds.steps import Steps

LIMIT: Final = 100
"""Clouds; each costs an Envoy a cluster for every service that it may use there."""


def parse_prefetch(text: str) -> Expression:
    """Return the expression that selects clouds to prefetch.

    Raises:
        ScopeError: it is no expression, or what it selects is not the same for all Envoys.
    """
    expression = parse_expression(text)
    operator = unsupported_operator(expression)
    if operator is not None:
        raise ScopeError(f"the operator '{operator}' selects no clouds to prefetch; '|' does")
    if any(isinstance(atom, Local) for atom in atoms(expression)):
        raise ScopeError("'local' is another cloud at each site, and what it has is there anyhow")
    return expression


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
        """Take over changed clouds; return those whose prefetched targets may be others now.

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

    def _selects(self, cloud: Cloud) -> bool:
        return cloud.name in self._names or any(bears(cloud, each) for each in self._labels)

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


def own_targets(cloud: Cloud | None) -> frozenset[str]:
    """Return the names of the targets that all Envoys of a cloud have: its own services."""
    if cloud is None:
        return frozenset()
    return frozenset(target_name(service, cloud.name) for service in cloud.services)


def prefetched(
    name: str, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> frozenset[str]:
    """Return the names of the targets of a cloud that the Envoys of `caller` are to have.

    Its services that the caller may use, and the validation of its tokens where the caller honours
    them; of a cordoned cloud, too. None of the caller's own cloud: that is there anyhow.
    """
    cloud = inventory.get(name)
    if cloud is None or name == caller.name:
        return frozenset()
    services = (
        [*cloud.services, IDENTITY_VALIDATE] if "identity" in cloud.services else cloud.services
    )
    return _names(
        name,
        tuple(each for each in services if _is_served(each, name, caller, inventory, settings)),
    )


def _is_served(
    service: str, name: str, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> bool:
    target = Target(service=service, expression=CloudName(name))
    outcome = plan(target, caller, inventory, settings)
    return not isinstance(outcome, Rejection) or outcome.cause == "cordoned"


@lru_cache(maxsize=4096)
def _names(cloud: str, services: tuple[str, ...]) -> frozenset[str]:
    # one value for all sites, which mostly may use the same
    return frozenset(target_name(service, cloud) for service in services)
