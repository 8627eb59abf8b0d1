"""The items of one cloud's page, as raw JSON: checked, named, told apart. Pure.

What a cloud sends is not built into objects: an item stays the bytes that came. What would break
or forge the answer of all clouds is refused (`Malformed`) or removed:

- JSON that is malformed, too deep, not UTF-8, or holds numbers that common parsers refuse;
- an item's own fields `scopeway:…`, however they are spelled.

What a page costs in memory is bounded by its bytes: no step builds an object for each value.
"""

import codecs
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, cast
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw

from scopeway.control_plane.collector.listing.markers import MAX_CLOUD_MARKER
from scopeway.control_plane.collector.messages.report import CLOUD
from scopeway.control_plane.collector.messages.service_lists import ServiceList

MAX_ITEMS: Final = 32_768
"""Of one cloud's page."""
MAX_DEPTH: Final = 64
"""Levels of nesting of an item. Parsers of clients have limits of some hundred."""
MAX_ITEM: Final = 1 << 20
"""Bytes of an item. It is copied some times while it is written."""
MAX_REWRITTEN: Final = 128 << 10
"""Bytes of an item that has fields of Scopeway's names, or keys with escapes."""
MAX_LINKS: Final = 16 << 10
"""Bytes of the links of a page."""
SMALL: Final = 256 << 10
"""Bytes of a page up to which its number of items needs no bound of its own."""
_LEAST_OBJECT: Final = 32
"""Bytes for each object of a large page, on average. Services send more than a hundred."""


class Malformed(ValueError):
    """A page that is not what its cloud should have sent; the text is the reason in a report."""


class _Link(msgspec.Struct, gc=False):
    rel: str = ""
    href: str = ""


class _Object(msgspec.Struct, gc=False):
    """Any JSON object; none of its fields is kept."""


_objects = msgspec.json.Decoder(list[_Object])
_items = msgspec.json.Decoder(list[Raw])
_fields = msgspec.json.Decoder(dict[str, Raw])
_links = msgspec.json.Decoder(list[_Link])
_encode = msgspec.json.Encoder().encode
_QUOTE: Final = ord('"')


@dataclass(frozen=True, slots=True)
class CloudPage:
    """What one cloud gave of a list."""

    array: bytes | bytearray | memoryview
    """The JSON of the list."""
    items: list[Raw]
    suspicious: bool
    """Whether an item may hold a field of Scopeway's name: a look at each is needed."""
    next_marker: str | None
    """The marker of its link to the next page."""

    def check(self) -> None:
        """Check the items, before the first one of them is passed on.

        Raises:
            Malformed: An item is no object, or `named` cannot write it.
        """
        if len(self.array) > MAX_ITEM:
            for item in self.items:
                if len(memoryview(item)) > MAX_ITEM:
                    raise Malformed(f"an item has more than {MAX_ITEM} bytes")
        suspicious = self.suspicious
        for raw in map(bytes, self.items):
            check_item(raw, suspicious)

    def named(self, cloud: str) -> Iterator[bytes]:
        """Yield each item, its cloud first, after `check`."""
        first = cloud_field(cloud)
        if self.suspicious:
            for item in self.items:
                yield named(bytes(item), first, suspicious=True)
            return
        begin = first + b", "
        for raw in map(bytes, self.items):
            if raw[1] == _QUOTE:
                yield begin + raw[1:]
            else:
                yield named(raw, first, suspicious=False)


def read_page(body: bytes | bytearray, wanted: ServiceList) -> CloudPage:
    """Read the answer of a cloud to the request for a list.

    Raises:
        Malformed: It is not JSON, is not such a list, or could harm a parser of all answers.
    """
    try:
        check_text(body)
        link = None
        found: Any = body
        if wanted.key:
            page = _page_decoder(wanted.key).decode(body)
            found = page.items
            link = page.next or page.links or page.key_links
        listed = memoryview(found)
        if not listed:
            raise Malformed(f"no field {wanted.key!r} in its answer")
        if len(listed) > SMALL:
            _check_number(listed)
        items = _items.decode(found)
        marker = _marker(link) if link else None
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Malformed(f"no JSON of a list: {error}") from None
    # one byte is found at once, several are searched for: so the backslash comes first
    suspicious = b"scopeway" in body or (b"\\" in body and b"\\u00" in body)
    return CloudPage(listed, items, suspicious, marker)


def cloud_field(clouds: str) -> bytes:
    """Return how an item begins that is of a cloud, or of several (`a,b`)."""
    return f'{{"{CLOUD}": "{clouds}"'.encode()


def named(item: bytes, first: bytes, *, suspicious: bool) -> bytes:
    """Return an item with its cloud in front, and with no other field of such a name.

    Args:
        item: The JSON of an object.
        first: `cloud_field(…)`
        suspicious: Whether it may have fields of that name.

    Raises:
        Malformed: It cannot be written without them: `check_item` says so before.
    """
    if suspicious and (b'"scopeway:' in item or b"\\u00" in item):
        item = _without_our_fields(item)
    # one byte behind the brace is nearly always the quote of the first key
    if item[1:2] == b'"' or item[1:].lstrip() != b"}":
        return first + b", " + item[1:]
    return first + b"}"


def check_item(item: bytes, suspicious: bool) -> None:
    """Check an item before any item of its page is passed on.

    Raises:
        Malformed: It is no object, is too deep, or has too much to be rewritten.
    """
    if item[:1] != b"{":
        raise Malformed("an item of its list is no object")
    if len(item) > MAX_DEPTH and item.count(b"{") + item.count(b"[") > MAX_DEPTH:
        _check_depth(item)
    if suspicious and len(item) > MAX_REWRITTEN and (b'"scopeway:' in item or b"\\u00" in item):
        raise Malformed(f"an item with escapes has more than {MAX_REWRITTEN} bytes")


class SeenIds:
    """Remembers ids of items: a table of 64-bit hashes, 16 bytes for each id on average.

    Python's hash of bytes is keyed at random, so that nobody can make ids collide on purpose.
    """

    __slots__ = ("_count", "_table")

    def __init__(self) -> None:
        self._table = array("q", bytes(8 * 256))
        self._count = 0

    @property
    def size(self) -> int:
        """Bytes of the table."""
        return 8 * len(self._table)

    @property
    def is_full(self) -> bool:
        """Whether the table has to be doubled before the next id."""
        return 2 * self._count >= len(self._table)

    def grow(self) -> None:
        """Double the table."""
        old = self._table
        self._table = array("q", bytes(16 * len(old)))
        self._count = 0
        for value in old:
            if value:
                self._insert(value)

    def add(self, identifier: bytes) -> bool:
        """Remember an id; return whether it is new. `is_full` must be false."""
        return self._insert(hash(identifier) or 1)

    def _insert(self, value: int) -> bool:
        table = self._table
        mask = len(table) - 1
        at = value & mask
        while (found := table[at]) != 0:
            if found == value:
                return False
            at = (at + 1) & mask
        table[at] = value
        self._count += 1
        return True


@lru_cache(maxsize=64)
def ids_decoder(field: str) -> msgspec.json.Decoder[list[Any]]:
    """Return the decoder of a list for the attribute `id`: the raw JSON of that field.

    It is `Raw()`, which is empty, where an item has none.
    """
    made = msgspec.defstruct(
        "Identified", [("id", Raw, msgspec.field(name=field, default=Raw()))], gc=False
    )
    return cast("msgspec.json.Decoder[list[Any]]", msgspec.json.Decoder(list[made]))  # type: ignore[valid-type]


@lru_cache(maxsize=64)
def _page_decoder(key: str) -> msgspec.json.Decoder[Any]:
    """Return the decoder of an answer: its list and its links; all else is skipped."""
    fields = {"items": key, "next": "next", "links": "links", "key_links": f"{key}_links"}
    taken: set[str] = set()
    made = []
    for attribute, name in fields.items():
        encoded = name if name not in taken else f"\0{attribute}"  # a list may be called `next`
        taken.add(name)
        made.append((attribute, Raw, msgspec.field(name=encoded, default=Raw())))
    return msgspec.json.Decoder(msgspec.defstruct("Answered", made, gc=False))


def _marker(link: Raw) -> str | None:
    """Return the marker in a link to the next page, which is a text or a list of links."""
    if len(memoryview(link)) > MAX_LINKS:
        raise Malformed(f"its links have more than {MAX_LINKS} bytes")
    data = bytes(link)
    if data[:1] == b'"':
        href = msgspec.json.decode(link, type=str)
    elif data[:1] == b"[":
        href = next((each.href for each in _links.decode(link) if each.rel == "next"), "")
    else:  # null, or what is no link of a page
        return None
    try:
        found = parse_qs(href.partition("?")[2], max_num_fields=64).get("marker")
    except ValueError:
        raise Malformed("its link to the next page has too many parameters") from None
    if not found:
        return None
    if len(found[0].encode(errors="surrogatepass")) > MAX_CLOUD_MARKER:
        raise Malformed(f"the marker of its next page has more than {MAX_CLOUD_MARKER} bytes")
    return found[0]


def _check_number(listed: memoryview) -> None:
    """Count the items of a large list, before an object is made for each."""
    braces = bytes_count(listed, b"{")
    if braces * _LEAST_OBJECT > len(listed) or len(_objects.decode(listed)) > MAX_ITEMS:
        raise Malformed(f"more than {MAX_ITEMS} items, or items without content")


def bytes_count(data: memoryview, byte: bytes) -> int:
    """Return how often a byte is in the data, without a copy of all of it."""
    return sum(bytes(data[at : at + SMALL]).count(byte) for at in range(0, len(data), SMALL))


_BLOCK: Final = 256 << 10
_OVERLAP: Final = 512
MAX_DIGITS: Final = 308
"""Digits in a row of a number: as many as the largest double has."""
_SHAPES: Final = bytes.maketrans(b"123456789E", b"000000000e")
_DIGITS = b"0" * (MAX_DIGITS + 1)
_LARGE_EXPONENT = re.compile(rb"e0000*[,}\]\s]")


def check_text(body: bytes | bytearray) -> None:
    """Check what the scan of raw JSON leaves unchecked: UTF-8, and the size of numbers."""
    if not body.isascii():
        decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            for at in range(0, len(body), _BLOCK):
                decoder.decode(body[at : at + _BLOCK])
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            raise Malformed("its answer is not UTF-8") from None
    for at in range(0, len(body), _BLOCK):
        # each digit a 0: then large numbers are found by plain searches
        shapes = body[max(0, at - _OVERLAP) : at + _BLOCK].translate(_SHAPES)
        if (
            _DIGITS in shapes
            or (b"+" in shapes and b"e+000" in shapes)
            or _LARGE_EXPONENT.search(shapes)
        ) and _has_large_number(body):
            raise Malformed("a number in its answer is too large")


_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_LARGE_NUMBER = re.compile(
    rb"[0-9]{%d}|[0-9][eE]\+?0*(?:[1-9][0-9]{3}|[3-9][0-9]{2})" % (MAX_DIGITS + 1)
)
_NOT_NESTING: Final = bytes(set(range(256)) - set(b"{}[]"))


def _has_large_number(body: bytes | bytearray) -> bool:
    """Look outside of strings."""
    return _LARGE_NUMBER.search(_STRING.sub(b'""', body)) is not None


def _check_depth(item: bytes) -> None:
    nesting = _STRING.sub(b"", item).translate(None, _NOT_NESTING)
    for _ in range(MAX_DEPTH):
        nesting = nesting.replace(b"{}", b"").replace(b"[]", b"")
        if not nesting:
            return
    raise Malformed(f"an item has more than {MAX_DEPTH} levels of nesting")


def _without_our_fields(item: bytes) -> bytes:
    found = _fields.decode(item)
    if not any(key.startswith("scopeway:") for key in found):
        return item
    return _encode({key: value for key, value in found.items() if not key.startswith("scopeway:")})
