"""What a peer's Lua is told of the limits of calling clouds (`lua_filters/limits.lua`).

Those of the site itself are constants of its Lua. Those of rules come with the routes of the peer,
as the policy does, so that a change reaches live connections; labels have become names. Equal rules
are equal bytes.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from control_plane.clouds.caller_limits import peer_limits
from control_plane.clouds.model import UNLIMITED, CallerLimits, Cloud
from control_plane.clouds.policy import Policy, Selector
from xds.wire import any_message, field_bytes, field_string

Members = Callable[[Selector], Collection[str]]
"""From labels to the names of all clouds that bear them."""

KEY: Final = "limits"
"""In the `filter_context` of the Lua."""
NOT_STATED: Final = "-"
ANY_NUMBER: Final = "*"

# envoy.extensions.filters.http.lua.v3.LuaPerRoute; Struct, an entry of its map, Value
_FILTER_CONTEXT, _FIELDS, _MAP_KEY, _MAP_VALUE, _STRING = 4, 1, 1, 2, 3
_TYPE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"

_Stated = tuple[str, str]
"""A figure, and the number of the rule that states it."""
_NOTHING: _Stated = (NOT_STATED, NOT_STATED)


def lua_constants(cloud: Cloud) -> Mapping[str, object]:
    """Return `limits` of the Lua's constants; what is missing there is unlimited."""
    limits = peer_limits(cloud)
    figures = {"per_second": limits.requests_per_second, "at_once": limits.requests_at_once}
    return {name: value for name, value in figures.items() if value != UNLIMITED}


def route_limits(policy: Policy, members: Members) -> bytes:
    """Return the encoded `LuaPerRoute` with the limits of rules, as an Any; "" if none has any.

    Args:
        policy: Of the cloud.
        members: Who bears some labels now.
    """
    text = limits_of_rules(policy, members)
    if not text:
        return b""
    value = field_bytes(_MAP_VALUE, field_string(_STRING, text))
    struct = field_bytes(_FIELDS, field_string(_MAP_KEY, KEY) + value)
    return any_message(_TYPE, field_bytes(_FILTER_CONTEXT, struct))


def limits_of_rules(policy: Policy, members: Members) -> str:
    """Return a line for each pair of figures: the figures, each with its rule, and whose they are.

    "200 0 - - cloud-1 cloud-3" are 200 requests a second, by the rule 0. Each cloud stands once, so
    the text grows with the clouds and not with the rules.
    """
    per_second = _first_stated(policy, members, lambda limits: limits.requests_per_second)
    at_once = _first_stated(policy, members, lambda limits: limits.requests_at_once)
    clouds: dict[tuple[str, ...], list[str]] = {}
    for name in dict.fromkeys((*per_second, *at_once)):
        figures = (*per_second.get(name, _NOTHING), *at_once.get(name, _NOTHING))
        clouds.setdefault(figures, []).append(name)
    return "".join(f"{' '.join((*figures, *names))}\n" for figures, names in clouds.items())


def _first_stated(
    policy: Policy, members: Members, figure: Callable[[CallerLimits], int | None]
) -> dict[str, _Stated]:
    """Return for each cloud the first figure that a rule states for it."""
    first: dict[str, _Stated] = {}
    seen: set[Selector] = set()  # labels that stand in many rules are looked up once
    for index, rule in enumerate(policy.rules):
        value = figure(rule.limits)
        if value is None:
            continue
        stated = (ANY_NUMBER if value == UNLIMITED else str(value), str(index))
        for name in rule.names:
            first.setdefault(name, stated)
        for selector in rule.selectors:
            if selector not in seen:
                seen.add(selector)
                for name in members(selector):
                    first.setdefault(name, stated)
    return first
