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

from scopeway.control_plane.collector.items import CloudPage, Malformed, named
from scopeway.control_plane.collector.merge import (
    Item,
    Merged,
    Stream,
    merge,
    positions_after,
)
from scopeway.control_plane.collector.sort_order import SortOrder

MAX_ROUNDS: Final = 8
"""A page that is not full by then ends early, with a next link: clouds that give one item at a
time would otherwise cost a merge for each item."""

ITEM_BYTES: Final = 600
"""What Python's objects of an item take besides its content."""

MAX_HELD: Final = 3 << 20
"""Bytes of the items of one page."""

_FEWEST: Final = 2
_GROWTH: Final = 4


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
        self._max_held = max_held
        self._streams = {
            each: Stream(each) for each in members if positions.get(each, "") is not None
        }
        self._size = min(limit, max(_FEWEST, 2 * limit // max(1, len(self._streams)) + 1))
        self._rounds = 0
        self._merged = Merged()
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
        # a cloud that ignores `limit` gives all it has: the rest is asked for again, not held. One
        # that ignores `marker` as well gives the item that it names, which no other page contains
        kept, begin, count = self._order.items(
            page.array, behind=self._marker(cloud), most=self._size
        )
        if more and not count:
            raise Malformed("a page without items that says there are more")
        for item, raw in zip(kept, page.items[begin : begin + self._size], strict=False):
            item.tail = named(bytes(raw), b"", suspicious=page.suspicious)
        stream.items += kept
        stream.more = count > self._size or (count == self._size if more is None else more)
        self.held += sum(ITEM_BYTES + len(each.tail) for each in kept)
        if self.held > self._max_held:
            self._drop()

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

    def _drop(self) -> None:
        """Drop what lies behind the end of the page, and end it earlier if that is too much.

        More answers only bring the end nearer: nothing that is dropped is missed.
        """
        merged = self._merge(self._limit)
        room = self._max_held * 3 // 4
        for count, (_, item) in enumerate(merged.items):
            room -= ITEM_BYTES + len(item.tail)
            if room < 0 and count:
                self._limit = count
                merged = self._merge(count)
                break
        self.held = 0
        for stream in self._streams.values():
            used = merged.used[stream.cloud]
            if used < len(stream.items):
                stream.more = stream.cut = True
                del stream.items[used:]
            self.held += sum(ITEM_BYTES + len(each.tail) for each in stream.items)

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
