"""Templates of the routes: one virtual host, and a route whose cluster the Lua filter names.

A route holds nothing of a cloud but the site's own name: in the loop check, and where a front tells
its own targets from those of others (`dropped_headers`). Path, host, status and reason come from
the metadata of the cluster. The templates are built once for all sites; `routes` adds the site's
name.
"""

from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from functools import cache

from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    Route,
    RouteActionMaxStreamDuration,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import LuaPerRoute
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.dropped_headers import (
    AUTHORIZATION,
    DROPPED_REQUEST_HEADERS,
    DROPPED_RESPONSE_HEADERS,
)
from scopeway.control_plane.translator.envoy_types import (
    append,
    default,
    overwrite,
)
from scopeway.control_plane.translator.fanout_routes import fanout
from scopeway.control_plane.translator.route_parts import (
    ERROR_TITLES,
    OwnRoute,
    believe_peers,
    cluster_metadata,
    direct_answer,
    negative_headers,
    no_target,
    plain_http,
    to_target,
    virtual_host,
)
from scopeway.xds.encoding.protobuf import field_bytes, field_string

# VirtualHost, Route, and an entry of its map
_ROUTES, _TYPED_PER_FILTER_CONFIG, _KEY, _VALUE = 3, 13, 1, 2

LOOP = "Loop Detected"

MAX_LOGIN = 64 * 1024
"""Bytes of the body of a login, which is held until all of it has come."""

MAX_BODY_WITH_IDS = 64 * 1024
"""Bytes of a body in which the Lua looks for ids of projects: `MAX_BYTES` of `project_ids.lua`."""

LOGIN_BODY_WITHIN = timedelta(seconds=10)
"""How long that body may take."""

LOGIN_PATHS = r"(/~.*)?(/identity)?/v3/auth/tokens"
"""Every path whose body the Lua reads, and more: it reads none that came by another route."""

WITHIN: Mapping[str, Mapping[str, timedelta]] = {
    names.FRONT: {
        names.VALIDATION: timedelta(seconds=10),
        names.LOGIN: timedelta(seconds=30),
    },
    # a validation is for one cloud
    names.DISPATCH: {names.LOGIN: timedelta(seconds=29)},
    names.PEER: {
        names.VALIDATION: timedelta(seconds=9),
        names.LOGIN: timedelta(seconds=28),
    },
}
"""How long a Keystone may take for the whole of a request, by listener: a silent one holds a thread
of each service that asks it. The listener nearest to the Keystone is the first to say so."""

KEYSTONE_BUFFER = 1 << 20
"""Bytes that are held of an answer that the Lua reads, and of a login for the next cloud."""

VIA = f"1.1 {names.SITE_NAME}.scopeway"
"""Appended by fronts, and looked for by them: every way back into a site leads through one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontHost:
    """The encoded virtual host of a front; `routes` adds the routes that name the site."""

    unnamed: bytes
    """The routes of logins and of other writes before the Lua has run: the very first, for what
    they bound."""
    head: bytes
    """What comes before these."""
    own: tuple["OwnRoute", ...]
    """Routes for targets of the site itself."""
    rest: bytes
    """What comes behind them: all other targets are of other clouds."""


@cache
def front(listener: str, *, behind_tls: bool = False) -> FrontHost:
    """Return the virtual host of a front.

    Args:
        listener: Its name.
        behind_tls: True where clients speak TLS to something before the Envoy.
    """
    host, fallback = _front(listener == names.FRONT, behind_tls)
    # by hand, since each service may have a listener of its own, and Lua by its name
    entry = field_string(_KEY, names.lua(listener)) + field_bytes(_VALUE, _answers())
    answers = field_bytes(_TYPED_PER_FILTER_CONFIG, entry)
    others = b"".join(
        field_bytes(_ROUTES, route + (answers if awaited else b""))
        for route, awaited in _to_other_clouds()
    )
    own = tuple(
        OwnRoute(fields=fields + (answers if awaited else b""), awaited=awaited, limit=limit)
        for fields, awaited, limit in _own()
    )
    unnamed = b"".join(field_bytes(_ROUTES, route) for route in (_login(), _write()))
    head = host + field_bytes(_ROUTES, fanout())
    return FrontHost(unnamed=unnamed, head=head, own=own, rest=others + fallback)


@cache
def _front(all_services: bool, behind_tls: bool) -> tuple[bytes, bytes]:
    """Return the virtual host with its first route, and the route behind all others."""
    headers = [
        overwrite(names.ORIGIN, names.SITE_NAME),
        # a client's own values have been removed: services take the first, or the whole
        overwrite("x-forwarded-host", "%REQ(:AUTHORITY)%"),
        append("via", VIA),
        *negative_headers(),
    ]
    if all_services:
        # Lua sets it only where it took more off the path than the service
        headers.append(default("x-forwarded-prefix", f"/%REQ({names.SERVICE})%"))
    if behind_tls:
        # the connection manager believes what it sees: plain HTTP
        headers.append(overwrite("x-forwarded-proto", "https"))
    host = virtual_host([_two_hosts()], headers)
    return bytes(host), field_bytes(_ROUTES, bytes(no_target()))


@cache
def _own() -> tuple[tuple[bytes, bool, str | None], ...]:
    """Return the routes for targets of the site itself, whether awaited, and their limit."""
    made = []
    # the answer of an own Keystone is awaited for a login with a scope only
    for route, awaited, limits in (
        (_awaited(), True, [names.LOGIN]),
        (to_target(), False, [names.LOGIN, names.VALIDATION]),
    ):
        for each, limit in _limited(route, names.FRONT, limits):
            each.match = None
            each.name = ", ".join(
                ["own", *(["awaited"] if awaited else []), *([limit] if limit else [])]
            )
            made.append((bytes(each), awaited, limit))
    return tuple(made)


@cache
def _login() -> bytes:
    """Return the route that logins have until the Lua has named their target.

    The filter of its body is asked of this route, and so is how long that may take.
    """
    login = to_target()
    login.name = names.LOGIN
    login.match = RouteMatch(
        safe_regex=RegexMatcher(regex=LOGIN_PATHS),
        headers=[
            HeaderMatcher(name=names.TARGET, present_match=True, invert_match=True),
            HeaderMatcher(name=":method", string_match=StringMatcher(exact="POST")),
        ],
    )
    _end_after(login, LOGIN_BODY_WITHIN)
    login.request_body_buffer_limit = None  # the filter's counts
    per_route = BufferPerRoute(buffer=Buffer(max_request_bytes=MAX_LOGIN))
    login.typed_per_filter_config = {names.BUFFER: Any.pack(per_route)}
    return bytes(login)


@cache
def _write() -> bytes:
    """Return the route that other writes have until the Lua has named their target.

    Over HTTP/1.1 a filter could otherwise hold no more than a listener reads ahead, and Envoy
    answers what is longer with 413. The Lua reads no body that is announced to be longer than this.
    """
    write = to_target()
    write.name = "write"
    write.match = RouteMatch(
        prefix="/",
        headers=[
            HeaderMatcher(name=names.TARGET, present_match=True, invert_match=True),
            HeaderMatcher(
                name=":method",
                string_match=StringMatcher(safe_regex=RegexMatcher(regex="POST|PUT|PATCH")),
            ),
        ],
    )
    write.request_body_buffer_limit = MAX_BODY_WITH_IDS
    return bytes(write)


def _limited(
    route: Route, listener: str, limits: Iterable[str] | None = None
) -> Iterator[tuple[Route, str | None]]:
    """A route once for each limit (by default all of the listener), and as it is."""
    for limit in WITHIN[listener] if limits is None else limits:
        limited = deepcopy(route)
        assert limited.match is not None
        limited.name = f"{route.name}, {limit}"
        limited.match.headers.insert(
            0, HeaderMatcher(name=names.LIMIT, string_match=StringMatcher(exact=limit))
        )
        _end_after(limited, WITHIN[listener][limit])
        limited.request_body_buffer_limit = KEYSTONE_BUFFER
        yield limited, limit
    yield route, None


def _end_after(route: Route, within: timedelta) -> None:
    # of the whole stream: an answer that trickles, or that the Lua holds, ends too
    assert route.route is not None
    route.route.max_stream_duration = RouteActionMaxStreamDuration(max_stream_duration=within)


@cache
def _to_other_clouds() -> tuple[tuple[bytes, bool], ...]:
    """Return the routes for all other targets, and for which an answer is awaited."""
    return tuple((bytes(route), awaited) for route, awaited in _others())


def _others() -> Iterator[tuple[Route, bool]]:
    to_keystone = HeaderMatcher(name=names.SERVICE, string_match=StringMatcher(exact="identity"))
    dropped = DROPPED_REQUEST_HEADERS
    for headers, not_sent in (([to_keystone], dropped), ([], (*dropped, AUTHORIZATION))):
        if not headers:
            yield plain_http(), False
        for route, awaited in ((_awaited(), True), (to_target(), False)):
            assert route.match is not None
            route.match.headers.extend(headers)
            route.request_headers_to_remove = list(not_sent)
            route.response_headers_to_remove.extend(DROPPED_RESPONSE_HEADERS)
            if headers and awaited:  # so are those of every other Keystone
                yield from ((each, awaited) for each, _ in _limited(route, names.FRONT))
            else:
                yield route, awaited


@cache
def _answers() -> bytes:
    """Return what a route says that wants the Lua for answers."""
    return bytes(Any.pack(LuaPerRoute(name=names.ANSWERS)))


@cache
def peer() -> bytes:
    """Return the virtual host of peers, all but the policy."""
    routes = [
        route for kind in (_upgrade(), to_target()) for route, _ in _limited(kind, names.PEER)
    ]
    host = virtual_host([*routes, no_target()], negative_headers())
    # fronts drop it already; this side doesn't rely on them (docs/adr/0009)
    host.request_headers_to_remove.append("x-service-token")
    return bytes(host)


@cache
def loop() -> bytes:
    """Return the route that answers a loop, all but what it matches."""
    looped = direct_answer(508, LOOP, f"this request has been at {names.SITE_NAME} before")
    looped.name = "loop"
    return bytes(looped)


def dispatch() -> RouteConfiguration:
    """Return the routes of `dispatch`: on to the target of one cloud."""
    forward = to_target()
    believe_peers(forward)
    routes = [route for route, _ in _limited(forward, names.DISPATCH)]
    host = virtual_host([*routes, no_target()], negative_headers())
    return RouteConfiguration(name=names.DISPATCH, virtual_hosts=[host])


def errors() -> RouteConfiguration:
    """Return the routes of `errors`: the answers of negative clusters."""
    reason = f"%REQ({names.REASON})%"
    routes = []
    for status, title in ERROR_TITLES.items():
        route = direct_answer(status, title, reason)
        exactly = HeaderMatcher(name=names.STATUS, string_match=StringMatcher(exact=str(status)))
        route.match = RouteMatch(prefix="/", headers=[exactly])
        routes.append(route)
    unknown = direct_answer(503, ERROR_TITLES[503], reason)
    unknown.match = RouteMatch(prefix="/")
    host = VirtualHost(name="all", domains=["*"], routes=[*routes, unknown])
    return RouteConfiguration(name=names.ERRORS, virtual_hosts=[host])


def _two_hosts() -> Route:
    # what Envoy makes of two Host headers; services would make links of the whole
    route = direct_answer(400, ERROR_TITLES[400], "more than one Host, or one with a comma")
    route.name = "two hosts"
    comma = HeaderMatcher(name=":authority", string_match=StringMatcher(contains=","))
    route.match = RouteMatch(prefix="/", headers=[comma])
    return route


def _awaited() -> Route:
    """The same, for the Lua for answers: Envoy asks the route that the request's Lua has chosen.

    So no spelling of a path leads past it, and other answers don't pay for a hook.
    """
    awaited = to_target()
    awaited.name = "awaited"
    assert awaited.match is not None
    awaited.match.headers.append(HeaderMatcher(name=names.ANSWER, present_match=True))
    # what was removed before is added now: only the cluster of a validation has it
    awaited.response_headers_to_add.append(overwrite(names.HONOURED, cluster_metadata("honoured")))
    return awaited


def _upgrade() -> Route:
    """The same, for the Lua for answers to requests to upgrade."""
    upgrade = to_target()
    upgrade.name = "upgrade"
    assert upgrade.match is not None
    upgrade.match.headers.insert(0, HeaderMatcher(name="upgrade", present_match=True))
    lua = Any.pack(LuaPerRoute(name=names.UPGRADES))
    upgrade.typed_per_filter_config = {names.lua(names.PEER): lua}
    return upgrade
