"""Which clouds bear which labels, as a persistent value: a change costs far less than copying all.

For each label with its value the distinct sets of labels that contain it, each with the clouds that
bear exactly that set. Knows nothing else of clouds. Invariant: equal labels of equal clouds make
equal answers, in an order that depends on the labels alone.
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
    """The clouds that bear exactly some labels."""

    key: tuple[Label, ...]
    """The labels, sorted: what these values are ordered by."""
    labels: LabelSet
    names: SortedNames


Blocks = tuple[tuple[LabelGroup, ...], ...]
"""Sorted by key, each block before the next; none is empty."""

# quoted: the classes of rpds take no parameters at run time
_Sets: TypeAlias = "HashTrieMap[Label, Blocks]"
_Names: TypeAlias = "HashTrieMap[LabelSet, SortedNames]"


@dataclass(frozen=True, slots=True)
class LabelIndex:
    """Which clouds bear which labels."""

    _names: _Names = field(default_factory=HashTrieMap)
    """The distinct sets of labels, each with the clouds that bear exactly it."""
    _sets: _Sets = field(default_factory=HashTrieMap)
    """One label with its value to all the sets of labels that contain it."""

    def change(self, changes: Mapping[LabelSet, Mapping[str, bool]]) -> "LabelIndex":
        """Return the index after changes: a set of labels to names that bear it now, or no more.

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
        """Return how many sets of labels `containing` looks at, at least one label given."""
        return min(_size(self._sets.get(label, ())) for label in wanted)


def _size(blocks: Blocks) -> int:
    return sum(map(len, blocks))


def _put(blocks: Blocks, entry: LabelGroup) -> Blocks:
    """Return the blocks with an entry in place of that with its key; an empty one takes it away.

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
