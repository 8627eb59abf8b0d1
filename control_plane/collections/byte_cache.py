"""Values that are kept as long as there is room: a cache whose bound is in bytes.

`functools.lru_cache` counts entries, which bounds nothing where others decide how large one is.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class ByteBoundedCache(Generic[_Key, _Value]):
    """The last used values, of so many bytes together."""

    def __init__(self, most: int, size: Callable[[_Key, _Value], int]) -> None:
        """Keep at most `most` bytes, or one value that is larger; `size` estimates those of one."""
        self._most = most
        self._size = size
        self._values: dict[_Key, tuple[_Value, int]] = {}
        """The least recently used first."""
        self.bytes = 0
        """Of all values that are kept."""

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, key: _Key) -> bool:
        return key in self._values

    def get(self, key: _Key) -> _Value | None:
        """Return a value that is kept; it counts as used."""
        found = self._values.pop(key, None)
        if found is None:
            return None
        self._values[key] = found
        return found[0]

    def put(self, key: _Key, value: _Value) -> _Value:
        """Keep a value, and forget others where there is no room; return the value."""
        self.pop(key)
        size = self._size(key, value)
        self._values[key] = value, size
        self.bytes += size
        while self.bytes > self._most and len(self._values) > 1:
            self.pop(next(iter(self._values)))
        return value

    def pop(self, key: _Key) -> _Value | None:
        """Forget a value, and return it; harmless when it isn't kept."""
        found = self._values.pop(key, None)
        if found is None:
            return None
        self.bytes -= found[1]
        return found[0]

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()
        self.bytes = 0
