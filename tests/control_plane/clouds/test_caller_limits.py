"""The limits of a calling cloud, and their text."""

import pytest

from scopeway.control_plane.clouds.caller_limits import DEFAULT, limits_text, peer_limits
from scopeway.control_plane.clouds.model import (
    UNLIMITED,
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudPattern,
    Peer,
)

CALLER = Cloud(name="cloud-1", labels={"region": "eu"})
BY_NAME = CloudPattern(name="cloud-1")
BY_LABEL = CloudPattern(labels={"region": "eu"})
OTHER = CloudPattern(name="cloud-9")


def owner(*rules: tuple[CloudPattern, CallerLimits], peer: CallerLimits | None = None) -> Cloud:
    return Cloud(
        name="cloud-2",
        peer=Peer(address="127.0.0.1", port=1, limits=peer or CallerLimits()),
        accept=tuple(AcceptRule(clouds=(cloud,), limits=limits) for cloud, limits in rules),
    )


def test_peer_limits_default_where_the_manifest_states_none() -> None:
    assert peer_limits(owner()) == peer_limits(Cloud(name="cloud-2")) == DEFAULT


def test_peer_limits_can_be_stated_singly_or_switched_off() -> None:
    stated = CallerLimits(requests_per_second=7, requests_at_once=UNLIMITED)
    one = CallerLimits(requests_at_once=10)

    assert peer_limits(owner(peer=stated)) == stated
    assert peer_limits(owner(peer=one)).requests_per_second == DEFAULT.requests_per_second


@pytest.mark.parametrize("pattern", [BY_NAME, BY_LABEL])
def test_the_first_rule_for_the_caller_that_states_a_limit_decides_it(
    pattern: CloudPattern,
) -> None:
    text = limits_text(
        owner(
            (OTHER, CallerLimits(requests_per_second=1, requests_at_once=11)),
            (pattern, CallerLimits()),
            (pattern, CallerLimits(requests_at_once=12)),
            (pattern, CallerLimits(requests_per_second=UNLIMITED, requests_at_once=13)),
        ),
        CALLER,
    )

    assert text == (
        "any number of requests a second (accept[3].limits.requestsPerSecond), "
        "at most 12 requests at once (accept[2].limits.requestsAtOnce)"
    )
