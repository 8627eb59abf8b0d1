"""An index of clouds by labels, as a persistent value: a change does not copy the index.

For each label and value it has the distinct label sets that contain it, each with the clouds that
have exactly that set. Invariant: the order of results depends only on the labels.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple, TypeAlias

from rpds import HashTrieMap

from scopeway.control_plane.collections import sorted_names
from scopeway.control_plane.collections.sorted_names import BLOCK, SortedNames

Label = tuple[str, str]
LabelSet = frozenset[Label]


class LabelGroup(NamedTuple):
    """The clouds that have exactly one set of labels."""

    key: tuple[Label, ...]
    """The labels, sorted; groups are ordered by it."""
    labels: LabelSet
    names: SortedNames


Blocks = tuple[tuple[LabelGroup, ...], ...]
"""Blocks of groups, sorted by key within and across blocks; no block is empty."""

# quoted: the classes of rpds take no parameters at run time
_Sets: TypeAlias = "HashTrieMap[Label, Blocks]"
_Names: TypeAlias = "HashTrieMap[LabelSet, SortedNames]"


@dataclass(frozen=True, slots=True)
class LabelIndex:
    """An immutable index of clouds by labels."""

    _names: _Names = field(default_factory=HashTrieMap)
    """Each label set to the clouds that have exactly it."""
    _sets: _Sets = field(default_factory=HashTrieMap)
    """Each label and value to the groups of all label sets that contain it."""

    def change(self, changes: Mapping[LabelSet, Mapping[str, bool]]) -> "LabelIndex":
        """Return the index after changes: label set to names, each True if added, False if removed.

        O(names and labels of the changes).
        """
        names, sets = self._names, self._sets
        for labels, changed in changes.items():
            old = names.get(labels, sorted_names.EMPTY)
            new = sorted_names.change(old, changed)
            if new == old:
                continue
            names = names.insert(labels, new) if new else names.remove(labels)
            entry = LabelGroup(tuple(sorted(labels)), labels, new)
            for label in labels:
                blocks = _put(sets.get(label, ()), entry)
                sets = sets.insert(label, blocks) if blocks else sets.remove(label)
        return LabelIndex(names, sets)

    def containing(self, wanted: LabelSet) -> Iterator[LabelGroup]:
        """Yield the group of each label set that contains `wanted`. O(`lookup_cost`)."""
        if not wanted:
            for labels, names in self._names.items():
                yield LabelGroup((), labels, names)
            return
        fewest = min((self._sets.get(label, ()) for label in wanted), key=_size)
        for found in chain.from_iterable(fewest):
            if wanted <= found.labels:
                yield found

    def lookup_cost(self, wanted: Collection[Label]) -> int:
        """Return how many label sets `containing` looks at; needs at least one label."""
        return min(_size(self._sets.get(label, ())) for label in wanted)


def _size(blocks: Blocks) -> int:
    return sum(map(len, blocks))


def _put(blocks: Blocks, entry: LabelGroup) -> Blocks:
    """Return the blocks with an entry replaced by key; an entry without names is removed.

    O(BLOCK + blocks).
    """
    if not blocks:
        return ((entry,),) if entry.names else ()
    at = max(bisect_right(blocks, entry.key, key=_first) - 1, 0)
    block = blocks[at]
    index = bisect_left(block, entry.key, key=_key)
    known = index < len(block) and block[index].key == entry.key
    rest = block[index + 1 :] if known else block[index:]
    changed = (*block[:index], entry, *rest) if entry.names else (*block[:index], *rest)
    return blocks[:at] + _split(changed) + blocks[at + 1 :]


def _split(block: tuple[LabelGroup, ...]) -> Blocks:
    if len(block) <= BLOCK:
        return (block,) if block else ()
    middle = len(block) // 2
    return block[:middle], block[middle:]


def _first(block: tuple[LabelGroup, ...]) -> tuple[Label, ...]:
    return block[0].key


def _key(entry: LabelGroup) -> tuple[Label, ...]:
    return entry.key
