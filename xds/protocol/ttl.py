"""TTLs: when to refresh resources that expire at the client, and which clients support TTLs.

Knows neither what is sent nor how.

https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ttl
"""

import math
from collections.abc import Awaitable, Collection, Iterator
from typing import Any, Final

from scopeway.xds.encoding.messages import without_ttl
from scopeway.xds.protocol.deadlines import Deadlines
from scopeway.xds.resource import Resource
from scopeway.xds.source import Found, KnowsVersions, MakesInSteps, Node, NodeView, Pending
from scopeway.xds.steps import Steps

_REFRESH_FRACTION: Final = 1 / 3
"""A refresh is due after this share of a TTL. If one is late or lost, there is time for another."""

TTL_FEATURE: Final = "xds.config.supports-resource-ttl"
WRAPPED_FEATURES: Final = frozenset(
    {"xds.config.resource-in-sotw", "xds.config.supports-resource-in-sotw"}
)
"""In state of the world a TTL needs a wrapper message. The specification spells the feature that
announces it in both ways."""


class TtlRefreshes:
    """When to refresh the resources that a client holds with a TTL; of one type on one stream."""

    __slots__ = ("_deadlines", "_ttls")

    def __init__(self) -> None:
        self._ttls: dict[str, float] = {}
        self._deadlines = Deadlines()

    def __contains__(self, name: str) -> bool:
        return name in self._ttls

    @property
    def next_at(self) -> float | None:
        """When the next refresh is due; None if there is none."""
        return self._deadlines.next_at

    def schedule(self, name: str, ttl: float, now: float) -> None:
        """Schedule a refresh of a resource whose TTL the client started to count at `now`."""
        self._ttls[name] = ttl
        self._deadlines.set(name, now + ttl * _REFRESH_FRACTION)

    def schedule_now(self, name: str, ttl: float) -> None:
        """Schedule an immediate refresh: when the client started to count the TTL is unknown."""
        self.schedule(name, ttl, -math.inf)

    def cancel(self, name: str) -> None:
        """Stop refreshing a resource: the client does not hold it any more, or it must expire."""
        self._ttls.pop(name, None)
        self._deadlines.discard(name)

    def pop_due(self, now: float) -> Iterator[tuple[str, float]]:
        """Yield name and TTL of each refresh that is due, and schedule the next one.

        The next refresh does not wait for the client's ACK.
        """
        for name in self._deadlines.pop_due(now):
            ttl = self._ttls[name]
            self.schedule(name, ttl, now)
            yield name, ttl


def supports_ttl(node: Node, *, wrapped: bool) -> bool:
    """Return whether a client supports TTLs.

    Args:
        node: The client.
        wrapped: Whether the TTL is in a wrapper message, as in state of the world.
    """
    if node.user_agent.partition("/")[0] == "envoy":  # since 1.17, without the client feature
        return True
    features = node.client_features
    return TTL_FEATURE in features and (not wrapped or not features.isdisjoint(WRAPPED_FEATURES))


class TtlStrippingView:
    """A view without TTLs, for a client that does not support them."""

    __slots__ = ("_prepare", "_versions", "_view")

    def __init__(self, view: NodeView) -> None:
        self._view = view
        self._versions = view if isinstance(view, KnowsVersions) else None
        self._prepare = view.prepare if isinstance(view, MakesInSteps) else None

    @property
    def group(self) -> str:
        """The group of the view."""
        return self._view.group

    def resource(self, type_url: str, name: str) -> Found | Awaitable[Found]:
        """Return the resource of the view, without its TTL; what comes later goes to `stripped`."""
        found: Found | Awaitable[Found] = self.stripped(self._view.resource(type_url, name))
        return found

    def stripped(self, found: Any) -> Any:
        """Return a resource without its TTL, and anything else as it is."""
        if isinstance(found, Resource) and found.ttl is not None:
            return without_ttl(found)
        return found

    def prepare(self, type_url: str, name: str) -> Steps[None] | None:
        """Do what `prepare` of the view does, if it has one."""
        return None if self._prepare is None else self._prepare(type_url, name)

    def is_current(self, type_url: str, name: str, version: str) -> bool:
        """Return what the view returns; False if it does not know versions."""
        return self._versions is not None and self._versions.is_current(type_url, name, version)

    def wildcard(self, type_url: str) -> Collection[str] | Pending:
        """Return the wildcard names of the view."""
        return self._view.wildcard(type_url)

    def close(self) -> None:
        """Close the view."""
        self._view.close()
