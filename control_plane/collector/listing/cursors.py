"""Plain ids as markers: where a sorted list goes on behind an item.

openstacksdk, Horizon and `openstack … --marker` make markers from the id of the last item that they
got. Such an id says nothing about other clouds. So the collector remembers the positions behind the
last item of each page it gave; it is a hint, which a restart loses.

A position holds ids of items, which another client may not see. So a page is found by the client
that got it: by its token, or by its address, since each `openstack` command has a token of its own.
"""

import hashlib
from collections.abc import Iterator
from typing import Final

from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.collector.messages.request import FanoutRequest

MAX_BYTES: Final = 4 << 20
"""Of all remembered markers: some 70 pages of 1,000 clouds, or 4,000 of ten."""
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
        for key in _keys(request, item):
            self._markers.put(key, marker)

    def find(self, request: FanoutRequest, item: str) -> str | None:
        """Return the marker behind an item that this client got in the same list."""
        found = (self._markers.get(key) for key in _keys(request, item))
        return next((each for each in found if each is not None), None)


def _keys(request: FanoutRequest, item: str) -> Iterator[bytes]:
    """Yield keys that another client, target, list or order does not have."""
    rest = [each for each in request.parameters() if each[0] not in ("marker", "limit")]
    order = sorted(rest, key=lambda each: each[0])
    for client in (request.client, request.address):
        if client:
            text = repr((client, request.target, request.path, order, item))
            yield hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).digest()
