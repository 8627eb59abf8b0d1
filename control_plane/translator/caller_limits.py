"""The limits of calling clouds, as a peer's Lua reads them (`lua_filters/limits.lua`).

The limits of the site are constants of its Lua. The limits of rules are in the routes of the peer,
like the policy, so that a change reaches live connections. Labels are resolved to names. Equal
rules are equal bytes.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Final

from scopeway.control_plane.clouds.caller_limits import peer_limits
from scopeway.control_plane.clouds.model import UNLIMITED, CallerLimits, Cloud
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.planner.caller_classes import CallerClass
from scopeway.xds.encoding.protobuf import any_message, field_bytes, field_string
from scopeway.xds.steps import Steps

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


def route_limits(policy: Policy, classes: Sequence[CallerClass]) -> Steps[bytes]:
    """Return the encoded `LuaPerRoute` with the limits of rules, as an Any; "" if none has any."""
    text = yield from limits_of_rules(policy, classes)
    if not text:
        return b""
    value = field_bytes(_MAP_VALUE, field_string(_STRING, text))
    struct = field_bytes(_FIELDS, field_string(_MAP_KEY, KEY) + value)
    return any_message(_TYPE, field_bytes(_FILTER_CONTEXT, struct))


def limits_of_rules(policy: Policy, classes: Iterable[CallerClass]) -> Steps[str]:
    """Return a line for each pair of figures: the figures, each with its rule, and whose they are.

    "200 0 - - cloud-1 cloud-3" are 200 requests a second, by the rule 0. Each cloud stands once, so
    the text grows with the clouds and not with the rules.
    """
    per_second = _stated(policy, lambda limits: limits.requests_per_second)
    at_once = _stated(policy, lambda limits: limits.requests_at_once)
    if not per_second and not at_once:
        return ""
    clouds: dict[tuple[str, ...], list[str]] = {}
    for each in classes:
        yield
        figures = (*_first(per_second, each.rules), *_first(at_once, each.rules))
        if figures != (*_NOTHING, *_NOTHING):
            clouds.setdefault(figures, []).extend(chain(*each.blocks, each.others))
    return "".join(f"{' '.join((*figures, *names))}\n" for figures, names in clouds.items())


def _stated(policy: Policy, figure: Callable[[CallerLimits], int | None]) -> dict[int, _Stated]:
    """Return the figures that rules state: of the rule i by 1 << i."""
    values = ((index, figure(rule.limits)) for index, rule in enumerate(policy.rules))
    return {
        1 << index: (ANY_NUMBER if value == UNLIMITED else str(value), str(index))
        for index, value in values
        if value is not None
    }


def _first(stated: Mapping[int, _Stated], rules: int) -> _Stated:
    """Return the first figure that one of some rules states: bit i is rule i."""
    rules &= sum(stated)
    return stated.get(rules & -rules, _NOTHING)
