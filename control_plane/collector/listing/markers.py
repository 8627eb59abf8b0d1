"""Markers of a listing of several clouds: how far each of them has been read.

    scopeway1.<base64url of: checksum u32, salt u8, entries>
    entry: hash of the cloud's name u32, kind u8, the cloud's own marker

A marker is not signed. It carries only what a client could send to each cloud itself, and the
clouds are always those of the scope. The checksum finds text that was cut or mistyped.

Clouds are named by a hash and not by an index, so that a marker outlives a change of the registry:
clouds that are still there go on, and new ones begin at their beginning.
"""

import binascii
import hashlib
import re
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence

from scopeway.control_plane.collector.messages.request import Refused

PREFIX = "scopeway1."

MAX_SORTED_CLOUDS = 2000
"""Markers of more clouds do not fit Envoy's 60 KiB of request headers."""

MAX_MARKER = 56 * 1024
"""Characters of a marker: it is part of a path, and leaves 4 KiB for all other headers."""

MAX_CLOUD_MARKER = 1024
"""Bytes of one cloud's own marker: OpenStack's are ids, and names of at most 1,024 bytes."""

_DONE, _UUID, _HEX, _TEXT = range(4)
_UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_HEX_TEXT = re.compile(r"[0-9a-f]{32}\Z")
_ENTRY = struct.Struct(">IB")
_SIZE = struct.Struct(">H")
_SALTS = 8
_HEAD_BYTES = 5
"""Checksum and salt."""
_URL_SAFE = str.maketrans("+/", "-_")
_STANDARD = str.maketrans("-_", "+/")


class InvalidMarker(Refused):
    """A marker that cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


class MarkerRoom:
    """What is left of the next marker, while the clouds of a page answer. See `take`."""

    def __init__(self, positions: Mapping[str, str | None], members: Sequence[str]) -> None:
        """Leave room for an entry of each member, and for the markers of those that have one."""
        self.lacked = False
        """Whether a cloud got none: it needs a later page."""
        self._positions = positions
        whole = (MAX_MARKER - len(PREFIX)) * 3 // 4 - _HEAD_BYTES
        known = sum(map(_marker_bytes, positions.values()))
        self._left = whole - _ENTRY.size * len(members) - known

    def take(self, cloud: str, marker: str | None) -> bool:
        """Take room for a cloud's own marker, in place of the one that it had; None: it has ended.

        Return whether there is room. Where there is none, `pack_marker` would fail.
        """
        more = _marker_bytes(marker) - _marker_bytes(self._positions.get(cloud))
        if more > max(self._left, 0):
            self.lacked = True
            return False
        self._left -= more
        return True


def is_composite(marker: str) -> bool:
    """Return whether a marker claims to be one of this module, and not the id of an item."""
    return marker.startswith(PREFIX)


def pack_marker(positions: Mapping[str, str | None], members: Sequence[str]) -> str:
    """Write where each cloud goes on; equal positions give equal text.

    Args:
        positions: The cloud's own marker, or None for a cloud that has no more items. A cloud at
            its beginning is left out.
        members: All clouds of the scope.

    Raises:
        InvalidMarker: The text would be longer than MAX_MARKER.
    """
    salt, hashes = _distinct_hashes(members)
    entries = sorted(
        _entry(hashes[cloud], marker) for cloud, marker in positions.items() if cloud in hashes
    )
    payload = bytes([salt]) + b"".join(entries)
    encoded = binascii.b2a_base64(_checksum(payload) + payload, newline=False).decode()
    text = PREFIX + encoded.rstrip("=").translate(_URL_SAFE)
    if len(text) > MAX_MARKER:
        raise InvalidMarker(
            f"the marker of the next page would have {len(text)} characters, and at most "
            f"{MAX_MARKER} are allowed: narrow the scope"
        )
    return text


def read_marker(text: str, members: Sequence[str]) -> dict[str, str | None]:
    """Read where each cloud goes on; clouds that are no members any more are left out.

    Raises:
        InvalidMarker: The text is not a whole marker, or names none of the members.
    """
    payload = _payload(text)
    hashes = _hashes(members, payload[0])
    if len(hashes) < len(set(members)):
        raise InvalidMarker(_OTHER_CLOUDS)
    positions: dict[str, str | None] = {}
    seen: set[int] = set()
    for number, marker in _entries(payload):
        if number in seen:
            raise InvalidMarker("the marker names a cloud twice: follow the next links as they are")
        seen.add(number)
        if (cloud := hashes.get(number)) is not None:
            positions[cloud] = marker
    if seen and not positions:
        raise InvalidMarker(_OTHER_CLOUDS)
    return positions


def refuse_too_many(members: Sequence[str]) -> None:
    """Check that the markers of a sorted listing can be written for so many clouds.

    Raises:
        InvalidMarker: There are more than MAX_SORTED_CLOUDS.
    """
    if len(members) > MAX_SORTED_CLOUDS:
        raise InvalidMarker(
            f"a sorted page takes at most {MAX_SORTED_CLOUDS} clouds, and this scope has "
            f"{len(members)}: narrow the scope, or leave out limit and sort"
        )


_OTHER_CLOUDS = "this page belongs to other clouds than those of the scope: begin anew"


def _payload(text: str) -> bytes:
    """Return the salt and the entries of a marker that is whole."""
    if len(text) > MAX_MARKER:
        raise InvalidMarker(
            f"the marker has {len(text)} characters, and at most {MAX_MARKER} are allowed"
        )
    encoded = text.removeprefix(PREFIX).translate(_STANDARD)
    try:
        raw = binascii.a2b_base64(encoded + "=" * (-len(encoded) % 4), strict_mode=True)
    except ValueError:
        raise InvalidMarker(_NOT_WHOLE) from None
    payload = raw[4:]
    if not payload or _checksum(payload) != raw[:4]:
        raise InvalidMarker(_NOT_WHOLE)
    return payload


def _checksum(payload: bytes) -> bytes:
    return zlib.crc32(payload).to_bytes(4)


_NOT_WHOLE = "the marker is not whole: follow the next links as they are"


def _entries(payload: bytes) -> Iterable[tuple[int, str | None]]:
    at = 1
    while at < len(payload):
        try:
            number, kind = _ENTRY.unpack_from(payload, at)
            at += _ENTRY.size
            if kind == _DONE:
                yield number, None
                continue
            if kind in (_UUID, _HEX):
                size = 16
            elif kind == _TEXT:
                (size,) = _SIZE.unpack_from(payload, at)
                at += _SIZE.size
            else:
                raise InvalidMarker(_NOT_WHOLE)
            value = payload[at : at + size]
            at += size
            if len(value) < size or size > MAX_CLOUD_MARKER:
                raise InvalidMarker(_NOT_WHOLE)
            yield number, value.decode() if kind == _TEXT else _written(value, kind)
        except (struct.error, UnicodeDecodeError):
            raise InvalidMarker(_NOT_WHOLE) from None


def _written(value: bytes, kind: int) -> str:
    text = value.hex()
    if kind == _HEX:
        return text
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _entry(number: int, marker: str | None) -> bytes:
    if marker is None:
        return _ENTRY.pack(number, _DONE)
    if _UUID_TEXT.match(marker):
        return _ENTRY.pack(number, _UUID) + bytes.fromhex(marker.replace("-", ""))
    if _HEX_TEXT.match(marker):
        return _ENTRY.pack(number, _HEX) + bytes.fromhex(marker)
    value = marker.encode()
    if len(value) > MAX_CLOUD_MARKER:
        raise InvalidMarker(
            f"the marker of a cloud has {len(value)} bytes, and at most {MAX_CLOUD_MARKER} "
            "are allowed"
        )
    return _ENTRY.pack(number, _TEXT) + _SIZE.pack(len(value)) + value


def _marker_bytes(marker: str | None) -> int:
    """Return the bytes of a cloud's own marker in an entry."""
    return 0 if marker is None else len(_entry(0, marker)) - _ENTRY.size


def _distinct_hashes(members: Sequence[str]) -> tuple[int, dict[str, int]]:
    """Return the first salt with which no two members have the same hash, and the hashes."""
    for salt in range(_SALTS):
        hashes = _hashes(members, salt)
        if len(hashes) == len(set(members)):
            return salt, {cloud: number for number, cloud in hashes.items()}
    raise InvalidMarker("the names of these clouds cannot be told apart in a marker")


def _hashes(members: Iterable[str], salt: int) -> dict[int, str]:
    key = bytes([salt])
    return {
        int.from_bytes(hashlib.blake2b(each.encode(), digest_size=4, key=key).digest()): each
        for each in members
    }
