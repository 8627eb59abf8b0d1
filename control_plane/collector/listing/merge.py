"""The merge of sorted listings: which items of which clouds are the first ones of all.

Each cloud's own order is only ever consumed from its front. So no item is lost or repeated even
where a database collates names in another way than this module; only their order may interleave.
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

ITEM_BYTES: Final = 600
"""What Python's objects of an item take, without long texts in its key."""

SortKey = tuple[Any, ...]
"""What items are ordered by, the id last: made by `sort_order.SortOrder`."""


@dataclass(slots=True)
class Item:
    """An item of a listing."""

    key: SortKey
    id: str
    tail: bytes = b""
    """Its JSON behind the field that names its cloud (`items.named`); b"" where another item with
    this id is in the page."""
    rank: int = 0
    """The place of the member whose content that is."""
    size: int = ITEM_BYTES
    """Bytes of its objects, without the content."""


@dataclass(slots=True)
class Stream:
    """What one cloud has given for a page, in its own order."""

    cloud: str
    items: list[Item] = field(default_factory=list)
    more: bool = True
    """Whether the cloud has, or may have, items behind these."""
    failed: bool = False
    """Whether the cloud failed to answer, so that it cannot be asked again for this page."""
    cut: bool = False
    """Whether items that lie behind the end of the page were dropped."""

    @property
    def is_open(self) -> bool:
        """Whether the cloud has to be asked for what comes behind these items."""
        return self.more and not self.failed and not self.cut


@dataclass(slots=True)
class Merged:
    """The first items of several streams."""

    items: list[tuple[list[str], Item]] = field(default_factory=list)
    """Each with the clouds that have it, the first one that was met in front."""
    used: dict[str, int] = field(default_factory=dict)
    """How many items of each stream are among them."""
    exhausted: dict[str, int] = field(default_factory=dict)
    """Streams that ended although their cloud has more, and how many items were merged by then."""

    def must_ask(self, limit: int) -> list[str]:
        """Return the clouds whose next items could belong before the last item merged.

        A stream that ended exactly at the last item of a full page gives nothing further to it.
        """
        last = len(self.items)
        return [cloud for cloud, at in self.exhausted.items() if at < last or last < limit]

    def certain(self, limit: int) -> int:
        """Return how many of the items are certain to be the first ones of all."""
        return min((self.exhausted[cloud] for cloud in self.must_ask(limit)), default=limit)


def merge(streams: Sequence[Stream], limit: int, *, replicas: bool = True) -> Merged:
    """Return the first `limit` items of all streams.

    Args:
        replicas: Whether items with equal ids are one item. Those that lie just behind the last
            one still join this page: they would otherwise begin the next one.
    """
    merged = Merged(used={stream.cloud: 0 for stream in streams})
    places: dict[str, int] = {}
    heads = []
    for number, stream in enumerate(streams):
        if stream.items:
            heads.append((stream.items[0].key, number, stream))
        elif stream.is_open:
            merged.exhausted[stream.cloud] = 0
    heapq.heapify(heads)
    while heads and len(merged.items) < limit:
        _, number, stream = heads[0]
        item = _consume(stream, merged, places if replicas else {})
        if item is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (item.key, number, stream))
    for stream in streams:
        while (item := _next(stream, merged)) is not None and item.id in places:
            _consume(stream, merged, places)
    return merged


def positions_after(
    streams: Iterable[Stream], used: Mapping[str, int], positions: Mapping[str, str | None]
) -> dict[str, str | None]:
    """Return where each cloud goes on after a page: see `markers.pack_marker`.

    Args:
        used: How many items of each stream are in the page.
        positions: Where the clouds were before.
    """
    after = dict(positions)
    for stream in streams:
        count = used[stream.cloud]
        if count == len(stream.items) and not stream.more:
            after[stream.cloud] = None
        elif count:
            after[stream.cloud] = stream.items[count - 1].id
    return after


def _next(stream: Stream, merged: Merged) -> Item | None:
    at = merged.used[stream.cloud]
    return stream.items[at] if at < len(stream.items) else None


def _consume(stream: Stream, merged: Merged, places: dict[str, int]) -> Item | None:
    """Add the stream's next item to the merged ones, and return the one behind it."""
    item = stream.items[merged.used[stream.cloud]]
    merged.used[stream.cloud] += 1
    place = places.get(item.id)
    if place is None:
        places[item.id] = len(merged.items)
        merged.items.append(([stream.cloud], item))
    elif stream.cloud not in (clouds := merged.items[place][0]):
        clouds.append(stream.cloud)
    following = _next(stream, merged)
    if following is None and stream.is_open:
        merged.exhausted[stream.cloud] = len(merged.items)
    return following
