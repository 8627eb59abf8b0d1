"""Plain ids as markers: where a sorted list goes on behind an item.

openstacksdk and Horizon make markers themselves, from the id of the last item that they got. Such
an id says nothing about other clouds. So the collector remembers the positions behind the last item
of each page it gave; it is a hint, which a restart loses.
"""

import hashlib
from typing import Final

from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.collector.request import FanoutRequest

MAX_BYTES: Final = 4 << 20
"""Of all remembered markers: some 140 pages of 1,000 clouds, or 10,000 of ten."""
_ENTRY: Final = 200


class Cursors:
    """The composite markers behind the last items of the latest pages."""

    def __init__(self, most: int = MAX_BYTES) -> None:
        self._markers: ByteBoundedCache[bytes, str] = ByteBoundedCache(
            most, lambda _, marker: _ENTRY + len(marker)
        )

    @property
    def bytes(self) -> int:
        """Bytes that are used."""
        return self._markers.bytes

    def remember(self, request: FanoutRequest, item: str, marker: str) -> None:
        """Remember where the list goes on behind an item."""
        self._markers.put(_key(request, item), marker)

    def find(self, request: FanoutRequest, item: str) -> str | None:
        """Return the marker behind an item that this client got in the same list."""
        return self._markers.get(_key(request, item))


def _key(request: FanoutRequest, item: str) -> bytes:
    """Return a key that another client, target, list or order does not have.

    Nobody learns by a marker whether an item exists that somebody else got.
    """
    rest = [each for each in request.parameters() if each[0] not in ("marker", "limit")]
    text = repr(
        (request.client, request.target, request.path, sorted(rest, key=lambda each: each[0]), item)
    )
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
