"""The limits of a calling cloud's requests: those of the peer and of the `accept` rules.

A limit counts all requests of one cloud at one worker of the peer, for all services. The first rule
for the caller that states a limit decides. If no rule states it, the limit of the peer applies, and
then the default. Pure: `lua_filters/limits.lua` enforces the limits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scopeway.control_plane.clouds.model import UNLIMITED, CallerLimits, Cloud
from scopeway.control_plane.clouds.policy import pattern_matches, rule_name

DEFAULT: Final = CallerLimits(requests_per_second=5000, requests_at_once=2000)
"""For a peer that states no limits (docs/limits.md has the reasons). 5,000 requests a second take a
third of a worker, at 70 µs each. 2,000 requests at once are more than one HTTP/2 connection
carries."""

PER_SECOND: Final = "requestsPerSecond"
AT_ONCE: Final = "requestsAtOnce"
PEER: Final = "peer.limits"
"""The place in the manifest of the limits for callers without a rule of their own."""


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """One limit of a caller, and its source."""

    value: int
    """Requests, or UNLIMITED."""
    rule: int | None
    """The index of the rule that states it; None for the peer or the default."""


def peer_limits(cloud: Cloud) -> CallerLimits:
    """Return the limits for callers without a rule of their own; both limits are set."""
    stated = cloud.peer.limits if cloud.peer is not None else CallerLimits()
    per_second, at_once = stated.requests_per_second, stated.requests_at_once
    return CallerLimits(
        requests_per_second=DEFAULT.requests_per_second if per_second is None else per_second,
        requests_at_once=DEFAULT.requests_at_once if at_once is None else at_once,
    )


def limits_text(owner: Cloud, caller: Cloud) -> str:
    """Return the limits of a caller at the peer of `owner` in words."""
    rules = [
        (index, rule.limits)
        for index, rule in enumerate(owner.accept)
        if any(pattern_matches(pattern, caller) for pattern in rule.clouds)
    ]
    peer = peer_limits(owner)
    per_second = _first([(i, each.requests_per_second) for i, each in rules])
    at_once = _first([(i, each.requests_at_once) for i, each in rules])
    return ", ".join(
        (
            _words(per_second, peer.requests_per_second, "a second", PER_SECOND),
            _words(at_once, peer.requests_at_once, "at once", AT_ONCE),
        )
    )


def limit_source(rule: int | None) -> str:
    """Return the place of a limit in the manifest."""
    return PEER if rule is None else f"{rule_name(rule)}.limits"


def _first(stated: Sequence[tuple[int, int | None]]) -> EffectiveLimit | None:
    return next((EffectiveLimit(value, rule) for rule, value in stated if value is not None), None)


def _words(figure: EffectiveLimit | None, default: int | None, unit: str, field: str) -> str:
    assert default is not None
    value = default if figure is None else figure.value
    many = "any number of requests" if value == UNLIMITED else f"at most {value} requests"
    return f"{many} {unit} ({limit_source(figure.rule if figure else None)}.{field})"
