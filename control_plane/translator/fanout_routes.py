"""Templates of the routes of fan-outs: from a front to the collector, from `collect` to a cloud.

Built once for all sites; `routes` adds the site's name.
"""

from dataclasses import dataclass
from functools import cache

from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.dropped_headers import (
    AUTHORIZATION,
    DROPPED_REQUEST_HEADERS,
    DROPPED_RESPONSE_HEADERS,
)
from scopeway.control_plane.translator.envoy_types import default, overwrite
from scopeway.control_plane.translator.route_parts import (
    OwnRoute,
    believe_peers,
    cluster_metadata,
    negative_headers,
    no_target,
    plain_http,
    to_target,
    virtual_host,
)
from scopeway.xds.encoding.protobuf import field_bytes

_ROUTES = 3
"""In a VirtualHost."""

_FANOUT_HEADERS = (names.OPERATOR, names.MEMBERS, names.MISSING, names.LISTS, names.FANOUT)
"""Removed from answers to what is part of a fan-out: a service has made them up. Other answers do
not pay for that."""

FANOUT_QUESTIONS = ("x-scope-require", "x-scope-deadline")
"""What a client asks of a fan-out; no service gets it from the collector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectHost:
    """The encoded virtual host of `collect`; `routes` adds the route that names the site."""

    head: bytes
    own: OwnRoute
    rest: bytes
    """What comes behind that: the route for targets of other clouds."""


@cache
def fanout() -> bytes:
    """Return the route of a fan-out: to the site's own collector, so that no credential is dropped.

    What the collector sends on to a cloud goes through `collect`, which drops them.
    """
    route = to_target()
    route.name = names.FANOUT_ROUTE
    assert route.match is not None
    marked = StringMatcher(exact=names.FANOUT_ROUTE)
    route.match.headers.insert(0, HeaderMatcher(name=names.ROUTE, string_match=marked))
    route.request_headers_to_add = [
        overwrite(names.OPERATOR, cluster_metadata("operator")),
        overwrite(names.MEMBERS, cluster_metadata("members")),
        overwrite(names.MISSING, cluster_metadata("missing")),
        overwrite(names.LISTS, cluster_metadata("lists")),
    ]
    route.request_headers_to_remove = [names.ROUTE]
    route.response_headers_to_remove.remove(names.REPORT)
    route.response_headers_to_remove.extend((*_FANOUT_HEADERS, *DROPPED_RESPONSE_HEADERS))
    return bytes(route)


@cache
def collect() -> CollectHost:
    """Return the virtual host of `collect`: on to the target of one cloud of a fan-out."""
    own = to_target()
    own.match, own.name = None, "own"
    other = to_target()
    other.request_headers_to_remove = [*DROPPED_REQUEST_HEADERS, AUTHORIZATION]
    other.response_headers_to_remove.extend(DROPPED_RESPONSE_HEADERS)
    host = virtual_host(
        [],
        [
            # natively: whoever else speaks to the socket is no other cloud
            overwrite(names.ORIGIN, names.SITE_NAME),
            default(names.FANOUT, "1"),
            *negative_headers(),
        ],
    )
    host.request_headers_to_remove.extend(FANOUT_QUESTIONS)
    host.response_headers_to_remove.extend(_FANOUT_HEADERS)
    others = (plain_http(), other, no_target())
    for route in (own, *others[:2]):
        believe_peers(route)
    rest = b"".join(field_bytes(_ROUTES, bytes(route)) for route in others)
    return CollectHost(head=bytes(host), own=OwnRoute(fields=bytes(own)), rest=rest)
