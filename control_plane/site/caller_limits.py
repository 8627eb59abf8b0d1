"""What a peer's Lua is told of the limits of calling clouds (`lua_filters/limits.lua`).

Those of the site itself are constants of its Lua. Those of rules come with the routes of the peer,
as the policy does, so that a change reaches live connections; labels have become names. Equal rules
are equal bytes.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final

from control_plane.clouds.caller_limits import peer_limits
from control_plane.clouds.model import UNLIMITED, Cloud
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
    stated: dict[str, tuple[_Stated, _Stated]] = {}
    for index, rule in enumerate(policy.rules):
        per_second = _figure(rule.limits.requests_per_second, index)
        at_once = _figure(rule.limits.requests_at_once, index)
        if (per_second, at_once) == (_NOTHING, _NOTHING):
            continue
        for names in (rule.names, *(members(each) for each in rule.selectors)):
            for name in names:
                first, second = stated.get(name, (_NOTHING, _NOTHING))
                stated[name] = (
                    per_second if first == _NOTHING else first,
                    at_once if second == _NOTHING else second,
                )
    clouds: dict[tuple[_Stated, _Stated], list[str]] = {}
    for name, figures in stated.items():
        clouds.setdefault(figures, []).append(name)
    return "".join(
        " ".join((*per_second, *at_once, *names)) + "\n"
        for (per_second, at_once), names in clouds.items()
    )


def _figure(value: int | None, rule: int) -> _Stated:
    if value is None:
        return _NOTHING
    return (ANY_NUMBER if value == UNLIMITED else str(value), str(rule))
