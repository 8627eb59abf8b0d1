"""The order of a listing: what a query asks for, and the keys of a cloud's items.

OpenStack's services write it in two ways: `sort=name:asc,id` and `sort_key=name&sort_dir=asc`, the
latter repeated. Both take the service's default keys behind those of the query, as the services do
themselves (oslo.db needs a total order to page).

Values compare as JSON values: null is the lowest, then booleans, numbers and text.
"""

import functools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from scopeway.control_plane.collector.listing.items import CloudPage, Malformed
from scopeway.control_plane.collector.listing.markers import MAX_CLOUD_MARKER
from scopeway.control_plane.collector.listing.merge import ITEM_BYTES, Item, SortKey
from scopeway.control_plane.collector.messages.request import Refused

MAX_KEYS = 8
MAX_KEY_NAME = 64
MAX_TEXT = 4096
"""Characters of a text that items are ordered by; OpenStack's names have at most 255."""


class InvalidOrder(Refused):
    """An order that cannot be merged."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)


@dataclass(frozen=True, slots=True)
class SortOrder:
    """Fields of the items and their directions; the id is the last of them."""

    fields: tuple[tuple[str, bool], ...]
    """Each field, and whether it descends."""
    id_fields: tuple[str, ...] = ("id",)
    """The fields that may hold the id of an item; the first one that an item has counts."""
    descends: bool = False
    """Whether the ids descend, where there are no fields."""

    def items(self, raws: Iterable[msgspec.Raw]) -> list[Item]:
        """Return items with their keys and without their content.

        Raises:
            Malformed: One is no object, has no id, or has a value that cannot be compared.
        """
        names = tuple(dict.fromkeys([*(name for name, _ in self.fields), *self.id_fields]))
        decode = _decoder(names).decode
        try:
            rows = [msgspec.structs.astuple(decode(each)) for each in raws]
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Malformed(f"an item that cannot be ordered: {error}") from None
        return [self._item(dict(zip(names, row, strict=True))) for row in rows]

    def place_behind(self, page: CloudPage, marker: str | None) -> int:
        """Return the place of the first item behind a marker, also where a cloud ignored it.

        A page never has the item that its marker names, unless the cloud knows no paging.
        """
        if marker is None:
            return 0
        # nearly always the text is nowhere in the page, and no item is read
        if _UNESCAPED.fullmatch(marker) and not re.search(re.escape(marker.encode()), page.array):
            return 0
        decode = _decoder(self.id_fields).decode
        try:
            found = (msgspec.structs.astuple(decode(each)) for each in page.items)
            return next((at for at, ids in enumerate(found, 1) if marker in ids), 0)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise Malformed(f"an item whose id cannot be read: {error}") from None

    def _item(self, values: dict[str, Any]) -> Item:
        identifier = next(
            (values[each] for each in self.id_fields if values[each] is not None), None
        )
        if not isinstance(identifier, str):
            raise Malformed(f"an item has no {' or '.join(self.id_fields)} that is text")
        if len(identifier.encode()) > MAX_CLOUD_MARKER:  # the next page may begin behind it
            raise Malformed(f"an item's id has more than {MAX_CLOUD_MARKER} bytes")
        key: SortKey = tuple(_part(values[name], descends) for name, descends in self.fields)
        last = self.fields[-1][1] if self.fields else self.descends
        size = ITEM_BYTES + sum(map(_bytes_of, values.values()))
        return Item((*key, _part(identifier, last)), identifier, size=size)


def sort_order(
    query: Sequence[tuple[str, str]],
    defaults: Sequence[tuple[str, bool]],
    *,
    descends: bool = True,
    renamed: Mapping[str, str] | None = None,
    id_fields: tuple[str, ...] = ("id",),
) -> SortOrder:
    """Read the order of a listing from its query.

    Args:
        query: The parameters, in their order.
        defaults: The service's own keys, and whether each descends.
        descends: The direction of a key for which the query has none.
        renamed: Sort keys that have another name in the items (Nova's `created_at` is `created`).
        id_fields: See `SortOrder`.

    Raises:
        InvalidOrder: There are too many keys, more directions than keys, or an unknown direction.
    """
    keys, first = _from_sort(query, descends) or _from_sort_keys(query, descends)
    if len(keys) > MAX_KEYS:
        raise InvalidOrder(
            f"a listing has {len(keys)} sort keys, and at most {MAX_KEYS} may be used"
        )
    fields: dict[str, bool] = {}
    for name, direction in keys:
        if not 0 < len(name) <= MAX_KEY_NAME:
            raise InvalidOrder(f"a sort key has 1 to {MAX_KEY_NAME} characters, not {len(name)}")
        fields.setdefault(_field(name, renamed), direction)
    for name, direction in defaults:
        fields.setdefault(_field(name, renamed), direction if first is None else first)
    return SortOrder(tuple(fields.items()), id_fields)


def _field(name: str, renamed: Mapping[str, str] | None) -> str:
    return (renamed or {}).get(name, name)


def _from_sort(
    query: Sequence[tuple[str, str]], descends: bool
) -> tuple[list[tuple[str, bool]], bool | None] | None:
    """Read `sort=name:asc,id`; return the keys, and the direction of the first one."""
    text = next((value for name, value in query if name == "sort"), "")
    if not text:
        return None
    keys = []
    for each in text.split(",", MAX_KEYS):
        name, _, direction = each.strip().partition(":")
        keys.append((name, _direction(direction) if direction else descends))
    return keys, keys[0][1]


def _from_sort_keys(
    query: Sequence[tuple[str, str]], descends: bool
) -> tuple[list[tuple[str, bool]], bool | None]:
    """Read `sort_key=name&sort_dir=asc`, both repeated; the first direction fills up the others."""
    names = [value for name, value in query if name in ("sort_key", "sort_keys")]
    directions = [_direction(value) for name, value in query if name == "sort_dir"]
    if len(directions) > max(len(names), 1):
        raise InvalidOrder(f"{len(directions)} sort directions for {len(names)} sort keys")
    first = directions[0] if directions else None
    fill = descends if first is None else first
    keys = [
        (name, directions[at] if at < len(directions) else fill) for at, name in enumerate(names)
    ]
    return keys, first


def _direction(text: str) -> bool:
    if text.lower() not in ("asc", "desc"):
        raise InvalidOrder(f"a sort direction is 'asc' or 'desc', not {text[:20]!r}")
    return text.lower() == "desc"


_UNESCAPED = re.compile(r"[A-Za-z0-9._-]+")
"""A text that JSON writes in one way only."""


@functools.lru_cache(maxsize=64)
def _decoder(names: tuple[str, ...]) -> msgspec.json.Decoder[Any]:
    """Return a decoder of these fields alone: the rest of an item is skipped, and not built."""
    fields = [
        (f"field_{at}", _Value, msgspec.field(name=name, default=None))
        for at, name in enumerate(names)
    ]
    return msgspec.json.Decoder(msgspec.defstruct("Keys", fields, gc=False))


_Value = str | int | float | bool | None


def _bytes_of(value: Any) -> int:
    if not isinstance(value, str):
        return 0
    return len(value) if value.isascii() else 4 * len(value)


def _part(value: Any, descends: bool) -> Any:
    """Return one part of a key: the rank of the value's JSON type, and the value."""
    if value is None:
        part: tuple[int, Any] = (0, 0)
    elif isinstance(value, bool):
        part = (1, value)
    elif isinstance(value, str):
        if len(value) > MAX_TEXT:
            raise Malformed(f"a text to order by has more than {MAX_TEXT} characters")
        part = (3, value)
    else:
        if abs(value) >= _MAX_NUMBER:
            raise Malformed("a number to order by is too large")
        part = (2, value)
    return _Descending(part) if descends else part


_MAX_NUMBER = 10**40


class _Descending:
    """A part of a key in the opposite order."""

    __slots__ = ("_part",)

    def __init__(self, part: tuple[int, Any]) -> None:
        self._part = part

    def __lt__(self, other: "_Descending") -> bool:
        return other._part < self._part

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Descending) and other._part == self._part

    __hash__ = None  # type: ignore[assignment]
