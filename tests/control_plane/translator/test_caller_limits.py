"""The limits that a peer's Lua gets are those of the manifest."""

from collections.abc import Callable
from typing import Any

from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute
from hypothesis import given
from hypothesis import strategies as st

from lua_envoy import make_filter
from scopeway.control_plane.clouds.caller_limits import limits_text
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    UNLIMITED,
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudPattern,
    Peer,
)
from scopeway.control_plane.clouds.policy import policy_of
from scopeway.control_plane.planner.caller_classes import caller_classes
from scopeway.control_plane.translator.caller_limits import limits_of_rules, lua_constants
from scopeway.control_plane.translator.routes import peer_routes
from scopeway.xds.steps import finish

CALLERS = [
    Cloud(name="cloud-1", labels={"region": "eu", "tier": "edge"}),
    Cloud(name="cloud-2", labels={"region": "eu"}),
    Cloud(name="cloud-3", labels={"region": "us"}),
]
INVENTORY = Inventory().apply({each.name: each for each in CALLERS})
EU = CloudPattern(labels={"region": "eu"})


def text_of(cloud: Cloud) -> str:
    policy = policy_of(cloud)
    return finish(limits_of_rules(policy, caller_classes(policy, INVENTORY)))


def site(*rules: AcceptRule, peer: CallerLimits | None = None) -> Cloud:
    limits = peer or CallerLimits()
    return Cloud(
        name="site", peer=Peer(address="127.0.0.1", port=1, limits=limits), accept=tuple(rules)
    )


def rule(*names: str, eu: bool = False, **limits: int) -> AcceptRule:
    clouds = (*(CloudPattern(name=name) for name in names), *((EU,) if eu else ()))
    return AcceptRule(clouds=clouds, limits=CallerLimits(**limits))


def test_each_caller_has_one_line_with_the_first_stated_limits() -> None:
    cloud = site(
        rule("cloud-3"),
        rule("cloud-1", "cloud-9", requests_per_second=200),
        rule(eu=True, requests_per_second=100, requests_at_once=50),
        rule("cloud-3", "cloud-1", requests_at_once=UNLIMITED),
    )

    assert text_of(cloud) == (
        "200 1 - - cloud-9\n100 2 50 2 cloud-2\n- - * 3 cloud-3\n200 1 50 2 cloud-1\n"
    )


def test_limits_are_in_the_peer_routes_only_if_a_rule_states_some() -> None:
    def of_lua(cloud: Cloud) -> Any:
        made = RouteConfiguration.parse(peer_routes(policy_of(cloud), INVENTORY).body)
        return made.virtual_hosts[0].typed_per_filter_config.get("lua/peer")

    told = of_lua(site(rule("cloud-1", requests_at_once=20)))
    assert told is not None
    per_route = told.unpack()
    assert isinstance(per_route, LuaPerRoute)
    assert per_route.filter_context is not None
    assert per_route.filter_context.to_dict() == {"limits": "- - 20 0 cloud-1\n"}
    assert of_lua(site(rule("cloud-1"))) is None


def test_unlimited_values_are_left_out_of_the_lua_constants() -> None:
    both = CallerLimits(requests_per_second=UNLIMITED, requests_at_once=20)

    assert lua_constants(site(peer=both)) == {"at_once": 20}
    assert lua_constants(site()) == {"per_second": 5000, "at_once": 2000}


FIGURES = st.sampled_from([None, UNLIMITED, 10, 12])
LIMITS = st.builds(CallerLimits, requests_per_second=FIGURES, requests_at_once=FIGURES)
PATTERNS = st.sampled_from([CloudPattern(name=each.name) for each in CALLERS] + [EU])
RULES = st.lists(
    st.builds(
        AcceptRule, clouds=st.lists(PATTERNS, min_size=1, max_size=2).map(tuple), limits=LIMITS
    ),
    max_size=4,
)


def refused(ask: Callable[[], Any]) -> str:
    """Return the sentence upon the fifteenth request, or "" where that is let through."""
    answers = [ask() for _ in range(15)]
    return str(answers[-1].error["message"]) if answers[-1] is not None else ""


@given(RULES, LIMITS, st.sampled_from(CALLERS))
def test_the_lua_and_the_printed_limits_agree(
    rules: list[AcceptRule], of_peer: CallerLimits, caller: Cloud
) -> None:
    cloud = site(*rules, peer=of_peer)
    peer = make_filter("peer", limits=lua_constants(cloud))
    peer.context["limits"] = text_of(cloud)
    headers = {"x-scopeway-origin": caller.name}
    told = limits_text(cloud, caller).split(", ")

    by_rate = refused(lambda: peer.request("/image/v2", headers).answer)
    peer.now += 60_000
    at_once = refused(lambda: peer.request("/image/v2", headers, held=True).answer)
    assert (" a second " in by_rate) is (told[0].split()[2] in {"10", "12"})
    if by_rate:
        assert _figure_of(by_rate) == _figure_of(told[0])
    elif told[1].split()[2] in {"10", "12"}:
        assert _figure_of(at_once) == _figure_of(told[1])
    else:
        assert at_once == ""


def _figure_of(sentence: str) -> tuple[str, str]:
    """Return the number and where it stands."""
    words = sentence.split()
    return words[words.index("most") + 1], words[-1].strip("()")
