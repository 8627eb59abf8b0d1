"""Reads JSON that is nested too deep for its reader, without the depths.

Our definitions keep unknown fields, and an API server takes 10,000 levels of them. Readers of JSON
end with a RecursionError after less than 1,000. One such object must not hide the others.
"""

import asyncio
import re
from collections.abc import Callable
from typing import Final, TypeVar

MAX_DEPTH: Final = 64
"""Levels that are kept. The deepest field of ours is a tenth level of a list of objects."""

_TOO_DEEP: Final = b'"nested too deep"'
_TOKEN: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)

Found = TypeVar("Found")


async def read_json(read: Callable[[bytes], Found], text: bytes) -> Found:
    """Return what a reader makes of JSON, at the second attempt of what `flatten` leaves.

    Args:
        read: Raises a RecursionError if the text is nested too deep.
        text: The JSON.
    """
    try:
        return read(text)
    except RecursionError:  # a thread: 8 MiB of brackets take seconds
        return read(await asyncio.to_thread(flatten, text))


def flatten(text: bytes, most: int = MAX_DEPTH) -> bytes:
    """Return JSON with a text in the place of each list and object below `most` levels.

    Costs some 0.3 µs for each bracket and text. The result is valid if `text` is.
    """
    kept: list[bytes] = []
    depth = start = 0
    for found in _TOKEN.finditer(text):
        match text[found.start()]:
            case 0x5B | 0x7B:  # [ or {
                depth += 1
                if depth == most + 1:
                    kept += text[start : found.start()], _TOO_DEEP
            case 0x5D | 0x7D:  # ] or }
                if depth == most + 1:
                    start = found.end()
                depth -= 1
    kept.append(text[start:] if depth <= most else b"")
    return b"".join(kept)
