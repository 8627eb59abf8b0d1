"""One page of a sorted list: whom to ask for how much, and when enough is known.

Each cloud is asked for a few items. Those of which every item belongs into the page are asked for
four times as many, until no cloud can have another one before the page's end. A page of 100 items
of 1,000 clouds so moves some 2,000 items, not 100,000.

What is held is bounded: items that lie behind the end of the page are dropped while others still
come, and a page ends early where its items would need too much memory.

Pure: `sorted_pages` asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from scopeway.control_plane.collector.listing.items import CloudPage, Malformed, named
from scopeway.control_plane.collector.listing.merge import (
    Item,
    Merged,
    Stream,
    merge,
    positions_after,
)
from scopeway.control_plane.collector.listing.sort_order import SortOrder

MAX_ROUNDS: Final = 8
"""A page that is not full by then ends early, with a next link: clouds that give one item at a
time would otherwise cost a merge for each item."""

MAX_HELD: Final = 3 << 20
"""Bytes of the items of one page."""

_POINTER: Final = 16
_FEWEST: Final = 2
_GROWTH: Final = 4
_AT_ONCE: Final = 256
"""Items of a cloud that are read before any behind the page is dropped."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one cloud is asked for."""

    cloud: str
    limit: int
    marker: str | None


@dataclass(frozen=True, slots=True)
class SortedPage:
    """A page, and where each cloud goes on behind it."""

    items: Sequence[tuple[list[str], Item]]
    positions: dict[str, str | None]
    more: bool
    """Whether there is a further page."""


class PageBuilder:
    """Collects what clouds give, in rounds, until a page is complete."""

    def __init__(
        self,
        order: SortOrder,
        members: Sequence[str],
        positions: Mapping[str, str | None],
        limit: int,
        *,
        replicas: bool = True,
        max_held: int = MAX_HELD,
    ) -> None:
        """Begin a page.

        Args:
            order: Of the items.
            members: The clouds, in the order in which they name a common item.
            positions: Where they go on: see `markers.pack_marker`.
            limit: The most items of the page.
            replicas: See `merge`.
            max_held: Bytes that the page's items may need; it has one item at least.
        """
        self._order = order
        self._replicas = replicas
        self._positions = positions
        self._limit = limit
        self._streams = {
            each: Stream(each) for each in members if positions.get(each, "") is not None
        }
        self._ranks = {each: rank for rank, each in enumerate(members)}
        self._known: dict[str, Item] = {}
        """One item for each id: equal items of several clouds are one object."""
        self._size = min(limit, max(_FEWEST, 2 * limit // max(1, len(self._streams)) + 1))
        self._rounds = 0
        self._merged = Merged()
        self._room = max_held * 3 // 4
        self._step = max_held // 8
        self._drop_above = self._step
        self.held = 0
        """Bytes that the items need now."""

    def questions(self) -> list[Question]:
        """Return the questions of the next round; none when the page is complete.

        Every cloud of the round before must have got an answer by `add` or `fail`.
        """
        if self._rounds == 0:
            clouds = list(self._streams)
        else:
            self._merged = self._merge(self._limit)
            clouds = self._merged.must_ask(self._limit) if self._rounds < MAX_ROUNDS else []
            self._size = min(self._limit, self._size * _GROWTH)
        self._rounds += 1
        return [Question(each, self._size, self._marker(each)) for each in clouds]

    def add(self, cloud: str, page: CloudPage, more: bool | None) -> None:
        """Add what a cloud gave.

        Args:
            more: Whether the cloud says that it has more items; None if its service never says so.

        Raises:
            Malformed: The items cannot be ordered; the caller calls `fail`.
        """
        stream = self._streams[cloud]
        page.check()
        begin = self._order.place_behind(page, self._marker(cloud))
        count = len(page.items) - begin
        if more and not count:
            raise Malformed("a page without items that says there are more")
        # a cloud that ignores `limit` gives all it has: the rest is asked for again, not held
        end = min(begin + self._size, len(page.items))
        for at in range(begin, end, _AT_ONCE):
            raws = page.items[at : min(at + _AT_ONCE, end)]
            for item, raw in zip(self._order.items(raws), raws, strict=True):
                stream.items.append(self._shared(item, raw, page, self._ranks[cloud]))
                if self.held > self._drop_above:
                    self._drop()
                if stream.cut:
                    return
        stream.more = count > self._size or (count == self._size if more is None else more)

    def fail(self, cloud: str) -> None:
        """Note that a cloud failed; what it gave before stays, and it keeps its place."""
        self._streams[cloud].failed = True

    def page(self) -> SortedPage:
        """Return the page, once there are no more questions."""
        merged = self._merged
        certain = merged.certain(self._limit)
        if certain < len(merged.items):
            merged = self._merge(certain)
        streams = self._streams.values()
        positions = positions_after(streams, merged.used, self._positions)
        more = any(_may_go_on(each, positions, bool(merged.items)) for each in streams)
        return SortedPage(merged.items, positions, more)

    def _shared(self, item: Item, raw: msgspec.Raw, page: CloudPage, rank: int) -> Item:
        """Return an item with its content: of equal ones the same object, and the first's content.

        So images that are in each of 1,000 clouds need no more memory than those of one.
        """
        known = self._known.setdefault(item.id, item) if self._replicas else item
        if known is not item and known.key == item.key:
            self.held += _POINTER
            item = known
            if item.rank <= rank:
                return item
            self.held -= len(item.tail)
        else:
            self.held += item.size
        item.rank = rank
        item.tail = named(bytes(raw), b"", suspicious=page.suspicious)
        self.held += len(item.tail)
        return item

    def _drop(self) -> None:
        """Drop what lies behind the end of the page, and end it earlier if it needs too much.

        More answers only bring the end nearer: nothing that is dropped is missed.
        """
        merged = self._merge(self._limit)
        while (size := self._bytes_of(merged)) > self._room and len(merged.items) > 1:
            count = len(merged.items)
            self._limit = max(1, min(count - 1, count * self._room // size))
            merged = self._merge(self._limit)
        shown = {id(item) for _, item in merged.items}
        self._known.clear()
        for stream in self._streams.values():
            used = merged.used[stream.cloud]
            if used < len(stream.items):
                stream.more = stream.cut = True
                del stream.items[used:]
            for item in stream.items:
                if id(item) not in shown:
                    item.tail = b""
                self._known.setdefault(item.id, item)
        self.held = size
        self._drop_above = size + self._step

    def _bytes_of(self, merged: Merged) -> int:
        """Return what the items of a page need, and those that are equal to them."""
        shown = {id(item): len(item.tail) for _, item in merged.items}
        seen: set[int] = set()
        size = 0
        for stream in self._streams.values():
            for item in stream.items[: merged.used[stream.cloud]]:
                size += _POINTER
                if id(item) not in seen:
                    seen.add(id(item))
                    size += item.size + shown.get(id(item), 0)
        return size

    def _merge(self, limit: int) -> Merged:
        return merge(list(self._streams.values()), limit, replicas=self._replicas)

    def _marker(self, cloud: str) -> str | None:
        given = self._streams[cloud].items
        return given[-1].id if given else self._positions.get(cloud)


def _may_go_on(stream: Stream, positions: Mapping[str, str | None], progress: bool) -> bool:
    """Return whether a cloud is a reason for a further page.

    One that failed is, if it has given something before and the page has an item: it may be back by
    then. Else clouds that stay away would make empty pages for ever.
    """
    position = positions.get(stream.cloud, "")
    return progress and bool(position) if stream.failed else position is not None
