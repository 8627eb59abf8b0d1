"""A persistent sorted set of names: adding one costs far less than copying all.

A tuple of blocks, each a sorted tuple of at most `BLOCK` names, all names of a block before those
of the next. Knows nothing of clouds. Invariant: no block is empty.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from itertools import chain

BLOCK = 128

SortedNames = tuple[tuple[str, ...], ...]

EMPTY: SortedNames = ()


def add(names: SortedNames, name: str) -> SortedNames:
    """Return `names` with `name`; the same value if it is there already. O(BLOCK + blocks)."""
    if not names:
        return ((name,),)
    at = _block_of(names, name)
    block = names[at]
    index = bisect_left(block, name)
    if index < len(block) and block[index] == name:
        return names
    return names[:at] + _split((*block[:index], name, *block[index:])) + names[at + 1 :]


def remove(names: SortedNames, name: str) -> SortedNames:
    """Return `names` without `name`; the same value if it isn't there. O(BLOCK + blocks)."""
    if not names:
        return names
    at = _block_of(names, name)
    block = names[at]
    index = bisect_left(block, name)
    if index == len(block) or block[index] != name:
        return names
    rest = block[:index] + block[index + 1 :]
    return names[:at] + ((rest,) if rest else ()) + names[at + 1 :]


def change(names: SortedNames, changes: Mapping[str, bool]) -> SortedNames:
    """Return `names` with those that are true and without those that are false.

    O(changes x (BLOCK + blocks)), or O(all of them), whichever is less.
    """
    if len(changes) < BLOCK:
        for name, present in changes.items():
            names = add(names, name) if present else remove(names, name)
        return names
    left = sorted(
        chain(
            (name for name in in_order(names) if name not in changes),
            (name for name, present in changes.items() if present),
        )
    )
    half = BLOCK // 2  # as blocks are after many changes one by one
    return tuple(tuple(left[start : start + half]) for start in range(0, len(left), half))


def in_order(names: SortedNames) -> Iterator[str]:
    """Yield the names in order, lazily."""
    return chain.from_iterable(names)


def _block_of(names: SortedNames, name: str) -> int:
    """Return the index of the only block where `name` may stand."""
    return max(bisect_right(names, name, key=_first) - 1, 0)


def _first(block: tuple[str, ...]) -> str:
    return block[0]


def _split(block: tuple[str, ...]) -> SortedNames:
    if len(block) <= BLOCK:
        return (block,)
    middle = len(block) // 2
    return (block[:middle], block[middle:])
