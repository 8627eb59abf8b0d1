"""Keys and the values of each, for indexes in which most keys have one value.

A set of one value alone takes 216 bytes; here it takes none.
"""

from collections.abc import Collection, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value", bound=Hashable)


class Index(Generic[_Key, _Value]):
    """A multimap; a key without values isn't in it. The values must not be sets."""

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values: dict[_Key, _Value | set[_Value]] = {}

    def __len__(self) -> int:
        """Return the number of keys."""
        return len(self._values)

    def get(self, key: _Key) -> Collection[_Value]:
        """Return the values of a key, none where it isn't there; not to be kept or changed."""
        if key not in self._values:
            return ()
        found = self._values[key]
        return found if isinstance(found, set) else (found,)

    def add(self, key: _Key, value: _Value) -> None:
        """Add a value; harmless when it is there."""
        found = self._values.setdefault(key, value)
        if isinstance(found, set):
            found.add(value)
        elif found != value:
            self._values[key] = {found, value}

    def discard(self, key: _Key, value: _Value) -> None:
        """Take a value away; harmless when it isn't there."""
        if key not in self._values:
            return
        found = self._values[key]
        if isinstance(found, set):
            found.discard(value)
            if found:
                return
        elif found != value:
            return
        del self._values[key]
