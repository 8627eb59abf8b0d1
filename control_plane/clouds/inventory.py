"""The immutable value of all known clouds at one revision (DESIGN section 2).

Owns lookups by name and by labels over thousands of clouds, and which of them an operator has
cordoned; knows no registry and no scope language. Invariant: a change makes a new inventory that
shares nearly everything with the old one, so neither a change nor a selection costs O(clouds).
"""

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeAlias

from rpds import HashTrieMap, HashTrieSet

from control_plane.clouds import sorted_names
from control_plane.clouds.model import NO_LABELS, Cloud, Labels
from control_plane.clouds.sorted_names import SortedNames

LabelSet = frozenset[tuple[str, str]]

# quoted: the classes of rpds take no parameters at run time
_Names: TypeAlias = "HashTrieMap[LabelSet, SortedNames]"
_Sets: TypeAlias = "HashTrieMap[tuple[str, str], HashTrieSet[LabelSet]]"


@dataclass(frozen=True, slots=True)
class _Index:
    """Which clouds bear which labels."""

    names: _Names = field(default_factory=HashTrieMap)
    """The distinct sets of labels, each with the clouds that bear exactly it."""
    sets: _Sets = field(default_factory=HashTrieMap)
    """One label with its value to all the keys of `names` that contain it."""


@dataclass(frozen=True, slots=True)
class Inventory:
    """All known clouds. `Inventory()` is the empty one; others come from `apply`."""

    revision: int = 0
    """Grows with each change; means nothing outside this process."""
    _clouds: "HashTrieMap[str, Cloud]" = field(default_factory=HashTrieMap)
    _index: _Index = field(default_factory=_Index)
    _cordons: "HashTrieMap[str, str]" = field(default_factory=HashTrieMap)
    """Cordoned clouds, known or not, to the operator's reason."""

    def __len__(self) -> int:
        return len(self._clouds)

    def __iter__(self) -> Iterator[Cloud]:
        """Yield every cloud, in no order."""
        return iter(self._clouds.values())

    def get(self, name: str) -> Cloud | None:
        """Return the cloud of that name."""
        return self._clouds.get(name)

    def cordon(self, name: str) -> str | None:
        """Return the operator's reason where a cloud is cordoned ("" for none given), else None."""
        return self._cordons.get(name)

    @property
    def cordons(self) -> Mapping[str, str]:
        """All cordons: the cloud's name, known or not, to the reason."""
        return self._cordons

    def select(
        self, labels: Labels, *, near: Labels = NO_LABELS, first: str | None = None, limit: int = 8
    ) -> tuple[str, ...]:
        """Return the first `limit` names that `nearest` yields."""
        return tuple(islice(self.nearest(labels, near=near, first=first), limit))

    def nearest(
        self, labels: Labels, *, near: Labels = NO_LABELS, first: str | None = None
    ) -> Iterator[str]:
        """Yield the names of the clouds that bear all of `labels`; each is found when asked for.

        The order: `first` if it is among them, then the clouds that have most labels in common with
        `near`, then by name. To begin costs O(distinct sets of labels that contain `labels`),
        whatever the number of clouds. Empty `labels` select every cloud.
        """
        wanted = frozenset(labels.items())
        home = frozenset(near.items())
        by_likeness: dict[int, list[SortedNames]] = {}
        for found in self._sets_with(wanted):
            by_likeness.setdefault(len(found & home), []).append(self._index.names[found])
        if first is not None and self._bears(first, wanted):
            yield first
        for likeness in sorted(by_likeness, reverse=True):
            for name in heapq.merge(*map(sorted_names.in_order, by_likeness[likeness])):
                if name != first:
                    yield name

    def apply(self, upserts: Mapping[str, Cloud], deletes: Iterable[str] = ()) -> "Inventory":
        """Return the inventory after a change; this one stays as it is.

        `upserts` maps each cloud's own name to it. Names in `deletes` that aren't known are
        ignored; a name in both is upserted. O(changed clouds).
        """
        gone = {name for name in deletes if name in self._clouds and name not in upserts}
        if not upserts and not gone:
            return self
        names, sets = self._index.names, self._index.sets
        for name in (*gone, *upserts):
            old, new = self._clouds.get(name), upserts.get(name)
            if old is not None and new is not None and old.labels == new.labels:
                continue
            if old is not None:
                names, sets = _without(names, sets, label_set(old), name)
            if new is not None:
                names, sets = _with(names, sets, label_set(new), name)
        clouds = self._clouds.update(upserts)
        for name in gone:
            clouds = clouds.remove(name)
        return Inventory(self.revision + 1, clouds, _Index(names, sets), self._cordons)

    def with_cordons(self, changes: Mapping[str, str | None]) -> "Inventory":
        """Return the inventory after clouds were cordoned (a reason) or uncordoned (None)."""
        cordons = self._cordons
        for name, reason in changes.items():
            cordons = cordons.discard(name) if reason is None else cordons.insert(name, reason)
        if not changes:
            return self
        return Inventory(self.revision + 1, self._clouds, self._index, cordons)

    def _bears(self, name: str, wanted: LabelSet) -> bool:
        cloud = self._clouds.get(name)
        return cloud is not None and wanted <= label_set(cloud)

    def _sets_with(self, wanted: LabelSet) -> Iterable[LabelSet]:
        """Return the distinct sets of labels that contain `wanted`."""
        if not wanted:
            return self._index.names
        candidates = [self._index.sets.get(label, HashTrieSet()) for label in wanted]
        return [found for found in min(candidates, key=len) if wanted <= found]


def label_set(cloud: Cloud) -> LabelSet:
    """Return the labels of a cloud as a set of (label, value)."""
    return frozenset(cloud.labels.items())


def _with(names: _Names, sets: _Sets, labels: LabelSet, name: str) -> tuple[_Names, _Sets]:
    bearers = names.get(labels)
    if bearers is None:
        for label in labels:
            sets = sets.insert(label, sets.get(label, HashTrieSet()).insert(labels))
    return names.insert(labels, sorted_names.add(bearers or sorted_names.EMPTY, name)), sets


def _without(names: _Names, sets: _Sets, labels: LabelSet, name: str) -> tuple[_Names, _Sets]:
    bearers = sorted_names.remove(names[labels], name)
    if bearers:
        return names.insert(labels, bearers), sets
    for label in labels:
        others = sets[label].remove(labels)
        sets = sets.insert(label, others) if others else sets.remove(label)
    return names.remove(labels), sets
