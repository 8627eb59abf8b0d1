"""What the routes of several listeners have in common: the virtual host, and the route to a target.

The templates of `route_templates` and `fanout_routes` are made of these.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from envoy_data_plane.envoy.config.core.v3 import HeaderValueOption
from envoy_data_plane.envoy.config.route.v3 import (
    DirectResponseAction,
    HeaderMatcher,
    Route,
    RouteAction,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher

from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.dropped_headers import DROPPED_RESPONSE_HEADERS
from scopeway.control_plane.translator.envoy_types import error_body, overwrite, overwrite_existing

ERROR_TITLES: Mapping[int, str] = {
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    501: "Not Implemented",
    503: "Service Unavailable",
    508: "Loop Detected",
}
"""Every status of a negative cluster; another one is answered as the 503."""

NOT_IN_ANSWERS = (
    names.UNSENT,
    names.UNREACHABLE,
    names.HONOURED,
    names.TARGET,
    names.SERVICE,
    names.METHOD,
    names.LIMIT,
    names.ROUTE,
    names.ORIGIN,
    names.STATUS,
    names.REASON,
    names.ANSWER,
    names.REPORT,
)
"""Whoever sends them in an answer has made them up."""

BODY_BUFFER = 4 << 20
"""Bytes of a request that are kept for sending it again: more than what is under way when a dead
cloud is noticed, so that a body of any size reaches the next cloud of an `|`. Only the very first
request to a target, which waits for its cluster meanwhile, can outgrow it."""

LOCATION = "\t".join(
    (
        *("%REQ(x-forwarded-proto)%", "%REQ(x-forwarded-host)%", "%REQ(x-forwarded-prefix)%"),
        f"%CLUSTER_METADATA({names.METADATA}:places)%",
        "%RESP(location)%",
    )
)
"""All that the Lua of `links` needs to lead clients back to the front they spoke to. It runs behind
every route that says this, and takes it off again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnRoute:
    """A route for targets of the site itself."""

    fields: bytes
    """All but what it matches."""
    awaited: bool = False
    """It matches only where the Lua awaits the answer."""
    limit: str | None = None
    """It matches only what has this limit."""


def virtual_host(routes: Sequence[Route], headers: Sequence[HeaderValueOption]) -> VirtualHost:
    """Return the virtual host of a listener, for every name.

    `headers` are added to each request.
    """
    return VirtualHost(
        name="all",
        domains=["*"],
        routes=list(routes),
        request_headers_to_add=list(headers),
        # the first is made by the manager of each hop; those that ask for retries are read later,
        # and removed. The scope was read by the front's Lua: a service that had it could hand it on
        # with a user's token, as if that user asked (identity.lua, `is_own_question`)
        request_headers_to_remove=["x-envoy-external-address", "x-scope"],
    )


def no_target() -> Route:
    """Return the last route: the Lua has named no target."""
    route = direct_answer(500, "Internal Server Error", "the scope filter named no target")
    route.name = "no target"
    route.match = RouteMatch(prefix="/")
    return route


def to_target() -> Route:
    """Return the route to the cluster that the Lua has named."""
    return Route(
        name="target",
        # a request that the Lua filter did not decide on must not go anywhere
        match=RouteMatch(
            prefix="/", headers=[HeaderMatcher(name=names.TARGET, present_match=True)]
        ),
        route=RouteAction(
            cluster_header=names.TARGET,
            timeout=timedelta(0),  # boots and uploads take longer than any number
            path_rewrite=f"{cluster_metadata('prefix')}%PATH(NQ:PATH)%",
            host_rewrite=cluster_metadata("host"),
        ),
        # said by the route that the Lua chooses: before it, nothing may hold so much
        request_body_buffer_limit=BODY_BUFFER,
        # overwrites what a service may have forged; a cluster of clusters has no `cloud`, and lets
        # through the one that `dispatch` has set
        response_headers_to_add=[
            overwrite(names.SERVED_BY, cluster_metadata("cloud")),
            # only clusters of services have it: other sites and our own listeners are believed
            overwrite_existing(names.REJECTED, cluster_metadata("rejected")),
            overwrite_existing("location", LOCATION),
        ],
        response_headers_to_remove=list(NOT_IN_ANSWERS),
    )


def believe_peers(route: Route) -> None:
    """Let through what a peer says of its service: that no connection to it could be made."""
    # only clusters of services have that metadata: their claim becomes "false", a peer's stays
    route.response_headers_to_remove.remove(names.UNREACHABLE)
    route.response_headers_to_add.append(
        overwrite_existing(names.UNREACHABLE, cluster_metadata("rejected"))
    )


def plain_http() -> Route:
    """Return the route to a target of the protocol `http`: the Lua has dropped the headers."""
    plain = to_target()
    plain.name = names.HTTP
    assert plain.match is not None
    exact = StringMatcher(exact=names.HTTP)
    plain.match.headers.append(HeaderMatcher(name=names.ROUTE, string_match=exact))
    plain.response_headers_to_remove.extend(DROPPED_RESPONSE_HEADERS)
    return plain


def negative_headers() -> list[HeaderValueOption]:
    """Return what the listener `errors` is told; only negative clusters have it as metadata."""
    return [
        overwrite(names.STATUS, cluster_metadata("status")),
        overwrite(names.REASON, cluster_metadata("reason")),
    ]


def direct_answer(status: int, title: str, message: str) -> Route:
    """Return a route that the site itself answers, with an error as OpenStack's JSON."""
    # the number itself: %RESPONSE_CODE% is still 0 when a direct response is made
    body = error_body(status, title, message)
    return Route(
        direct_response=DirectResponseAction(status=status, body_format=body),
        # who answers: the site itself
        response_headers_to_add=[
            overwrite(names.SERVED_BY, names.SITE_NAME),
            overwrite(names.REJECTED, "true"),
        ],
    )


def cluster_metadata(key: str) -> str:
    """Return what Envoy replaces by a value of the metadata of the chosen cluster."""
    return f"%CLUSTER_METADATA({names.METADATA}:{key})%"
