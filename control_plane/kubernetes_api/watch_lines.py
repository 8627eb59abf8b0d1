"""Reads the lines of a watch: one event each, however the bytes are split. Pure."""

from typing import Any, Final

import msgspec

MAX_EVENT_BYTES: Final = 8 * 1024 * 1024
"""The longest line of a watch. etcd holds at most 1.5 MiB for an object by default."""


class LineTooLong(ValueError):
    """A line is longer than the limit."""


class Lines:
    """Splits bytes into lines; keeps the begin of the last one."""

    def __init__(self, max_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._rest: list[bytes] = []
        self._length = 0

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the lines that `chunk` completes, without the empty ones.

        Raises:
            LineTooLong: a line is longer than the limit.
        """
        *whole, last = chunk.split(b"\n")
        if whole:
            whole[0] = b"".join([*self._rest, whole[0]])
            self._rest, self._length = [], 0
        if last:
            self._rest.append(last)
            self._length += len(last)
        if self._length > self._max_bytes or any(len(one) > self._max_bytes for one in whole):
            raise LineTooLong(f"an event is longer than {self._max_bytes} bytes")
        return [line for line in whole if line]


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a watch."""

    type: str
    """"ADDED", "MODIFIED", "DELETED" or "BOOKMARK"; "ERROR" never leaves `ApiClient.watch`."""
    object: msgspec.Raw
    """The JSON of the object; of a bookmark, only its resource version counts."""

    def document(self) -> dict[str, Any]:
        """Return the object as plain types."""
        return msgspec.json.decode(self.object, type=dict[str, Any])


def read_event(line: bytes) -> Event:
    """Return the event of a line.

    Raises:
        ValueError: the line is not an event.
        RecursionError: the event is nested too deep.
    """
    return _DECODER.decode(line)


_DECODER = msgspec.json.Decoder(Event)
