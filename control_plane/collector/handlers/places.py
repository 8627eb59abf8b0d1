"""Where resources were found: a hint whom to ask first. Gives no access, and tells nobody.

Keyed by the client's credential as well: who does not hold it learns nothing from how fast an
answer comes.
"""

import hashlib
import re
from collections import OrderedDict
from typing import Final

from scopeway.control_plane.collector.messages.request import FanoutRequest

MAX_PLACES: Final = 16_384

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Places:
    """The last places, by credential, service and id."""

    def __init__(self) -> None:
        self._places: OrderedDict[bytes, str] = OrderedDict()

    def __len__(self) -> int:
        return len(self._places)

    def find(self, request: FanoutRequest) -> str | None:
        """Return the cloud that had the resource, if it is a member."""
        key = _key(request)
        cloud = self._places.get(key) if key else None
        return cloud if cloud in request.members else None

    def put(self, request: FanoutRequest, cloud: str) -> None:
        """Remember the cloud that had the resource."""
        if key := _key(request):
            self._places[key] = cloud
            self._places.move_to_end(key)
            if len(self._places) > MAX_PLACES:
                self._places.popitem(last=False)


def _key(request: FanoutRequest) -> bytes:
    """Return the key of the resource's id: the last one of its path, which may have others."""
    for segment in reversed(request.path.split("/")):
        if _ID.fullmatch(segment):
            text = f"{request.service}/{segment}".encode()
            return hashlib.blake2b(text, digest_size=16, key=request.client).digest()
    return b""
