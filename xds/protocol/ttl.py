"""Resources that run out at the client unless the server keeps saying that they live.

Owns when the next word is due, and which clients are told of TTLs at all. Knows neither what is
sent nor how.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl
"""

import math
from collections.abc import Collection, Iterator
from heapq import heappop, heappush
from typing import Final

from scopeway.xds.encoding.messages import without_ttl
from scopeway.xds.resource import Resource
from scopeway.xds.source import KnowsVersions, MakesInSteps, Node, NodeView
from scopeway.xds.steps import Steps

_REFRESH_FRACTION: Final = 1 / 3
"""A refresh is due after so much of a TTL: one that is late or lost leaves time for another."""
_SPARE: Final = 16
"""So many outdated entries of the heap cost less than to remove them."""

TTL_FEATURE: Final = "xds.config.supports-resource-ttl"
WRAPPED_FEATURES: Final = frozenset(
    {"xds.config.resource-in-sotw", "xds.config.supports-resource-in-sotw"}
)
"""In a state of the world a TTL needs a wrapper; the specification has both spellings."""


class TtlRefreshes:
    """When the client has to be told again of what it holds; of one type on one stream."""

    __slots__ = ("_due", "_heap")

    def __init__(self) -> None:
        self._due: dict[str, tuple[float, float]] = {}  # when, and the TTL
        self._heap: list[tuple[float, str]] = []  # all of `_due`, and some that are outdated

    def __contains__(self, name: str) -> bool:
        return name in self._due

    @property
    def next_at(self) -> float | None:
        """When the next refresh is due; None: never."""
        while self._heap and self._is_outdated(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def schedule(self, name: str, ttl: float, now: float) -> None:
        """The client has just begun to count the seconds of a TTL."""
        at = now + ttl * _REFRESH_FRACTION
        self._due[name] = at, ttl
        heappush(self._heap, (at, name))
        if len(self._heap) > 2 * len(self._due) + _SPARE:
            self._heap = sorted((at, name) for name, (at, _) in self._due.items())

    def schedule_now(self, name: str, ttl: float) -> None:
        """The client has counted the seconds of a TTL for an unknown time."""
        self.schedule(name, ttl, -math.inf)

    def cancel(self, name: str) -> None:
        """The client doesn't hold it any more, or it must run out."""
        self._due.pop(name, None)

    def pop_due(self, now: float) -> Iterator[tuple[str, float]]:
        """Yield name and TTL of what has to be told now; each is due again later, ACK or not."""
        while (at := self.next_at) is not None and at <= now:
            _, name = self._heap[0]
            _, ttl = self._due[name]
            self.schedule(name, ttl, now)
            yield name, ttl

    def _is_outdated(self, entry: tuple[float, str]) -> bool:
        at, name = entry
        return name not in self._due or self._due[name][0] != at


def supports_ttl(node: Node, *, wrapped: bool) -> bool:
    """Return whether a client can be told of TTLs.

    Args:
        node: The client.
        wrapped: Whether it would have to take them out of a wrapper, as in a state of the world.
    """
    if node.user_agent.partition("/")[0] == "envoy":  # it can, since 1.17, and doesn't say so
        return True
    features = node.client_features
    return TTL_FEATURE in features and (not wrapped or not features.isdisjoint(WRAPPED_FEATURES))


class TtlStrippingView:
    """The view of a client that cannot be told of TTLs: to it nothing runs out."""

    __slots__ = ("_prepare", "_versions", "_view")

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._versions = view if isinstance(view, KnowsVersions) else None
        self._prepare = view.prepare if isinstance(view, MakesInSteps) else None

    @property
    def group(self) -> str:
        """As of the view itself."""
        return self._view.group

    def resource(self, type_url: str, name: str) -> Resource | None:
        """As of the view itself, without the TTL."""
        found = self._view.resource(type_url, name)
        return found if found is None or found.ttl is None else without_ttl(found)

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        """As of the view itself, if it makes resources in steps."""
        return None if self._prepare is None else self._prepare(type_url, name)

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        """As of the view itself, if it knows versions."""
        return self._versions is not None and self._versions.is_current(type_url, name, version)

    def wildcard(self, type_url: str) -> Collection[str]:
        """As of the view itself."""
        return self._view.wildcard(type_url)

    def close(self) -> None:
        """As of the view itself."""
        self._view.close()
