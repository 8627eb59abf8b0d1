"""One page of a sorted listing: whom to ask for how much, and when enough is known.

Each cloud is asked for a few items. Those of which every item belongs into the page are asked for
four times as many, until no cloud can have another one before the page's end. A page of 100 items
of 1,000 clouds so moves some 2,000 items, not 100,000.

Pure: `sorted_pages` asks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scopeway.control_plane.collector.merge import (
    Item,
    Merged,
    Stream,
    behind_marker,
    merge,
    positions_after,
)
from scopeway.control_plane.collector.sort_order import MalformedItems, SortOrder
from scopeway.control_plane.errors import ControlPlaneError

MAX_ROUNDS = 8
"""A page that is not full by then ends early, with a next link: clouds that give one item at a
time would otherwise cost a merge for each item."""

MAX_HELD = 24 << 20
"""Bytes of items that are held for one page."""

_FEWEST = 2
_GROWTH = 4


class TooMuchHeld(ControlPlaneError):
    """A cloud's items that would exceed MAX_HELD: that cloud has failed, with this reason."""


@dataclass(frozen=True, slots=True)
class Question:
    """What one cloud is asked for."""

    cloud: str
    limit: int
    marker: str | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and where each cloud goes on behind it."""

    items: Sequence[tuple[list[str], Item]]
    positions: dict[str, str | None]
    more: bool
    """Whether a cloud that answered has more; clouds that failed alone make no further page."""


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
    ) -> None:
        self._order = order
        self._replicas = replicas
        self._positions = positions
        self._limit = limit
        self._streams = {
            each: Stream(each) for each in members if positions.get(each, "") is not None
        }
        self._size = min(limit, max(_FEWEST, 2 * limit // max(1, len(self._streams)) + 1))
        self._rounds = 0
        self._held = 0
        self._merged = Merged()

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

    def add(self, cloud: str, listing: bytes, more: bool | None) -> None:
        """Add the JSON array that a cloud gave.

        Args:
            more: Whether the cloud says that it has more items; None if its service never says so.

        Raises:
            MalformedItems: The items cannot be ordered; the caller calls `fail`.
            TooMuchHeld: The page would hold too many bytes; the caller calls `fail`.
        """
        stream = self._streams[cloud]
        items = behind_marker(self._order.items(listing), self._marker(cloud))
        if more and not items:
            raise MalformedItems("a page without items that says there are more")
        # a cloud that ignores `limit` gives all it has: the rest is asked for again, not held
        kept = items[: self._size]
        size = sum(len(each.raw) for each in kept)
        if self._held + size > MAX_HELD:
            raise TooMuchHeld(f"the items of all clouds would have more than {MAX_HELD >> 20} MiB")
        self._held += size
        stream.items += kept
        stream.more = len(items) > self._size or (
            len(items) == self._size if more is None else more
        )

    def fail(self, cloud: str) -> None:
        """Note that a cloud failed; what it gave before stays, and it keeps its place."""
        self._streams[cloud].failed = True

    def page(self) -> Page:
        """Return the page, once there are no more questions."""
        streams = list(self._streams.values())
        merged = self._merged
        certain = merged.certain(self._limit)
        if certain < len(merged.items):
            merged = self._merge(certain)
        positions = positions_after(streams, merged.used, self._positions)
        more = any(positions.get(each.cloud, "") is not None for each in streams if not each.failed)
        return Page(merged.items, positions, more)

    def _merge(self, limit: int) -> Merged:
        return merge(list(self._streams.values()), limit, replicas=self._replicas)

    def _marker(self, cloud: str) -> str | None:
        items = self._streams[cloud].items
        return items[-1].id if items else self._positions.get(cloud)
