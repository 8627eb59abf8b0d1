"""How much each calling cloud may ask of a cloud: the limits of its peer and of its `accept` rules.

They count all requests of a cloud at one worker of the peer's Envoy, whatever the service. Of the
rules that are for a caller, the first that states a figure decides it; where none does, the peer's
own limit, and where that is not stated, the default. Pure: `lua_filters/limits.lua` enforces them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scopeway.control_plane.clouds.model import UNLIMITED, CallerLimits, Cloud
from scopeway.control_plane.clouds.policy import pattern_matches, rule_name

DEFAULT: Final = CallerLimits(requests_per_second=5000, requests_at_once=2000)
"""Of a peer that states none (docs/limits.md has the reasons). 5,000 requests a second take about a
third of a worker, at 70 µs each, so others have the rest; 2,000 at once are more than one HTTP/2
connection carries."""

PER_SECOND: Final = "requestsPerSecond"
AT_ONCE: Final = "requestsAtOnce"
PEER: Final = "peer.limits"
"""How people find the limits that hold for all callers that no rule states others for."""


@dataclass(frozen=True, slots=True)
class EffectiveLimit:
    """One limit that holds for a caller."""

    value: int
    """Requests, or UNLIMITED."""
    rule: int | None
    """The rule that states it; None: the peer, or the default."""


def peer_limits(cloud: Cloud) -> CallerLimits:
    """Return what holds for callers that no rule states other limits for; both are stated."""
    stated = cloud.peer.limits if cloud.peer is not None else CallerLimits()
    per_second, at_once = stated.requests_per_second, stated.requests_at_once
    return CallerLimits(
        requests_per_second=DEFAULT.requests_per_second if per_second is None else per_second,
        requests_at_once=DEFAULT.requests_at_once if at_once is None else at_once,
    )


def limits_text(owner: Cloud, caller: Cloud) -> str:
    """Return in words which limits hold for a caller at the peer of `owner`."""
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
    """Return how people find in the manifest where a limit stands."""
    return PEER if rule is None else f"{rule_name(rule)}.limits"


def _first(stated: Sequence[tuple[int, int | None]]) -> EffectiveLimit | None:
    return next((EffectiveLimit(value, rule) for rule, value in stated if value is not None), None)


def _words(figure: EffectiveLimit | None, default: int | None, unit: str, field: str) -> str:
    assert default is not None
    value = default if figure is None else figure.value
    many = "any number of requests" if value == UNLIMITED else f"at most {value} requests"
    return f"{many} {unit} ({limit_source(figure.rule if figure else None)}.{field})"
