"""A multimap that saves memory if most keys have few values.

A set takes 216 bytes for its first value, a tuple of two takes 56, and a single value takes none.
"""

from collections.abc import Collection, Hashable
from typing import Final, Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value", bound=Hashable)

_FEW: Final = 8
"""Up to this number, values are kept in a tuple."""


class Index(Generic[_Key, _Value]):
    """A multimap without empty keys. The values must be neither sets nor tuples."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[_Key, _Value | tuple[_Value, ...] | set[_Value]] = {}

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)

    def keys(self) -> Collection[_Key]:
        """Return the keys: a view that later changes alter."""
        return self._values.keys()

    def get(self, key: _Key) -> Collection[_Value]:
        """Return the values of a key, or none. Do not keep or change the result."""
        if key not in self._values:
            return ()
        found = self._values[key]
        return found if isinstance(found, set | tuple) else (found,)

    def add(self, key: _Key, value: _Value) -> None:
        """Add a value. Does nothing if it is there already."""
        if key not in self._values:
            self._values[key] = value
            return
        found = self.get(key)
        if isinstance(found, set):
            found.add(value)
        elif value not in found:
            more = (*found, value)
            self._values[key] = more if len(more) <= _FEW else set(more)

    def discard(self, key: _Key, value: _Value) -> None:
        """Remove a value. Does nothing if it is not there."""
        found = self.get(key)
        if value not in found:
            return
        if len(found) == 1:
            del self._values[key]
        elif isinstance(found, set):
            found.discard(value)
        else:
            left = tuple(each for each in found if each != value)
            self._values[key] = left if len(left) > 1 else left[0]
