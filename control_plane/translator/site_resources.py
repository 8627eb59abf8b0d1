"""From a cloud to the encoded listeners, routes and filters of its site.

Appends what differs between sites to the prototypes of `connection` and `route`: microseconds, and
no message objects. The numbers below are the field numbers of Envoy's API.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import ip_address
from itertools import chain
from typing import TYPE_CHECKING, Final, TypeAlias

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud, Front, Peer
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.clouds.urls import front_url, is_secure, service_urls
from scopeway.control_plane.identity import spiffe_id
from scopeway.control_plane.planner.caller_classes import PolicyTooLarge, caller_class_steps
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES
from scopeway.control_plane.translator import names
from scopeway.control_plane.translator.caller_limits import lua_constants, route_limits
from scopeway.control_plane.translator.foreign_ids import id_constants
from scopeway.control_plane.translator.rbac import Classes, peer_policy_steps
from scopeway.lua_filters import bundle, literal
from scopeway.xds.encoding.protobuf import (
    any_message,
    field_bytes,
    field_string,
    field_varint,
    nested,
)
from scopeway.xds.steps import Steps, finish
from scopeway.xds.type_urls import EXTENSION, LISTENER, ROUTE, SECRET

if TYPE_CHECKING:
    from scopeway.control_plane.translator.route_templates import OwnRoute

DEFAULT_ACCESS_LOG: Final = "/dev/stdout"

MAX_TARGETS: Final = 2000
"""Distinct new targets that one Lua state names before it answers 429; each costs Envoy 1 kB for
ever."""

NEW_TARGETS_PER_SECOND: Final = 100
NEW_TARGETS_BURST: Final = 1000
"""How fast one Lua state may name new targets, and how many at once after a rest; beyond it
answers 429. Each is a question to the control plane, which answers all Envoys one by one."""

HANDSHAKE_SECONDS: Final = 10
"""How long a client may take to begin TLS: till then it has a place, and nobody knows who it is."""

# envoy.config.listener.v3.Listener, FilterChain, Filter; google.protobuf.Duration
_NAME, _ADDRESS, _FILTER_CHAINS, _METADATA = 1, 2, 3, 6
_INTERNAL_LISTENER, _STAT_PREFIX = 27, 28
_FILTERS, _TYPED_CONFIG, _TRANSPORT_SOCKET = 3, 4, 6
_TRANSPORT_SOCKET_CONNECT_TIMEOUT, _DURATION_SECONDS = 9, 1
# HttpConnectionManager, Rds, AccessLog, FileAccessLog
_RDS, _HTTP_FILTERS, _ACCESS_LOG, _LOG_FILTER = 3, 5, 13, 2
_ROUTE_CONFIG_NAME, _PATH = 2, 1
# envoy.config.core.v3.Address, SocketAddress
_SOCKET_ADDRESS, _SOCKET_HOST, _SOCKET_PORT = 1, 2, 3
# envoy.config.core.v3.Metadata, google.protobuf.Struct and Value, and the entries of their maps
_FILTER_METADATA, _STRUCT_FIELDS, _STRING_VALUE = 1, 1, 3
_KEY, _VALUE = 1, 2
# google.protobuf.Any
_TYPE_URL, _ANY_VALUE = 1, 2
# RouteConfiguration, VirtualHost, Route, RouteMatch, HeaderMatcher, StringMatcher
_VIRTUAL_HOSTS, _ROUTES, _MATCH, _PREFIX, _HEADERS = 2, 3, 1, 1, 6
_TYPED_PER_FILTER_CONFIG = 15
_PRESENT_MATCH, _STRING_MATCH, _EXACT, _SUFFIX, _CONTAINS = 7, 13, 1, 3, 7
# TypedExtensionConfig, Lua, DataSource
_EXTENSION_CONFIG, _DEFAULT_SOURCE_CODE, _INLINE_STRING = 2, 3, 3
_SOURCE_CODES = 2

_MANAGER_TYPE = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
_FILE_LOG_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


@dataclass(frozen=True, slots=True)
class PeerRoutes:
    """The routes of a peer, with its policy."""

    body: bytes
    """The encoded `RouteConfiguration`."""
    problem: str | None
    """Why the policy lets nobody in; None where it is enforced as it is written."""


def site_resources(
    cloud: Cloud,
    access_log: str = "",
    *,
    earlier: bool = False,
    insecure_peers: bool = False,
    trust_domain: str | None = None,
) -> Mapping[str, Mapping[str, bytes]]:
    """Return type URL to name to encoded message: what a site's Envoy needs.

    But clusters, and the routes of its peer (`peer_routes`), which depend on other clouds.

    Args:
        cloud: Whose site it is.
        access_log: A file as that Envoy sees it; "" is its standard output.
        earlier: Whether it may have listeners of an earlier version (`Setup`).
        insecure_peers: True lets a peer listen beyond loopback, though it speaks without TLS.
        trust_domain: Of the certificates of peers; None: they speak without TLS.
    """
    made: dict[str, dict[str, bytes]] = {LISTENER: {}, ROUTE: {}, SECRET: {}, EXTENSION: {}}
    for type_url, name, body in each_site_resource(
        cloud,
        access_log,
        earlier=earlier,
        insecure_peers=insecure_peers,
        trust_domain=trust_domain,
    ):
        made[type_url][name] = body
    return made


def each_site_resource(
    cloud: Cloud,
    access_log: str = "",
    *,
    earlier: bool = False,
    insecure_peers: bool = False,
    trust_domain: str | None = None,
) -> Iterator[tuple[str, str, bytes]]:
    """Yield type URL, name and encoded message of what `site_resources` returns, one by one.

    Each takes a millisecond at most, all of the largest site 20.
    """
    log = access_log or DEFAULT_ACCESS_LOG
    peers = _Peers(insecure=insecure_peers, trust_domain=trust_domain)
    for type_url, made in (
        (LISTENER, _listeners(cloud, log, peers, earlier)),
        (ROUTE, _routes(cloud, peers)),
        (SECRET, iter(secrets(cloud).items())),
        (EXTENSION, _filters(cloud, peers)),
    ):
        for name, body in made:
            yield type_url, name, body


def warm(*, trust_domain: str | None = None) -> None:
    """Make what sites share, so that no Envoy waits half a second for it.

    Args:
        trust_domain: Of the certificates of peers; None: they speak without TLS.
    """
    from scopeway.control_plane.translator import route_templates as route
    from scopeway.control_plane.translator import tls

    front, peer = Front(address="127.0.0.1", port=1), Peer(address="127.0.0.1", port=2)
    site_resources(Cloud(name="any", front=front, peer=peer), trust_domain=trust_domain)
    for behind_tls in (False, True):
        for listener in (names.FRONT, names.front_of("image")):
            route.front(listener, behind_tls=behind_tls)
    tls.front()
    tls.to_peer("any")
    peer_routes(Policy(rules=(), audit=False), Inventory(), trust_domain=trust_domain)


def peer_routes(
    policy: Policy,
    inventory: Inventory,
    *,
    trust_domain: str | None = None,
    earlier: bool = False,
) -> PeerRoutes:
    """Return the `RouteConfiguration` of a peer; equal policies have equal ones.

    Args:
        policy: Of the cloud.
        inventory: All clouds.
        trust_domain: Of the callers' certificates; None: peers speak without TLS.
        earlier: Whether an Envoy may have listeners of an earlier version (`Setup`).
    """
    return finish(peer_routes_steps(policy, inventory, trust_domain=trust_domain, earlier=earlier))


def peer_routes_steps(
    policy: Policy,
    inventory: Inventory,
    *,
    trust_domain: str | None = None,
    earlier: bool = False,
) -> Steps[PeerRoutes]:
    """Do what `peer_routes` does, in steps."""
    from scopeway.control_plane.translator import route_templates as route

    try:
        classes: Classes = yield from caller_class_steps(policy, inventory)
    except PolicyTooLarge as error:
        classes = error
    made = yield from peer_policy_steps(policy, classes, trust_domain=trust_domain, earlier=earlier)
    filters = [(names.CLASSES, made.classes)] if made.classes else []
    filters.append((names.RBAC, made.decision))
    # also of a policy with too many rights: in audit mode its callers get in
    if not isinstance(classes, PolicyTooLarge) and (
        limits := (yield from route_limits(policy, classes))
    ):
        filters.append((names.lua(names.PEER), limits))
    yield
    configs = (
        nested(
            _TYPED_PER_FILTER_CONFIG,
            [field_string(_KEY, filter_), *nested(_VALUE, [config])],
        )
        for filter_, config in filters
    )
    host = nested(_VIRTUAL_HOSTS, [route.peer(), *chain.from_iterable(configs)])
    body = b"".join([field_string(_NAME, names.PEER), *host])
    yield  # who takes it makes its version, which is as slow as the copy
    return PeerRoutes(body, made.problem)


_Named: TypeAlias = tuple[str, bytes]
"""The name of a resource, and its encoded message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peers:
    """How the Envoys of sites speak to each other."""

    insecure: bool
    """Without TLS, beyond loopback."""
    trust_domain: str | None
    """None: without TLS."""


def _listeners(cloud: Cloud, access_log: str, peers: _Peers, earlier: bool) -> Iterator[_Named]:
    """Yield name and encoded `Listener`; the internal ones only beside one that can use them."""
    # imported late: Envoy's types take half a second
    from scopeway.control_plane.translator import http_connection_managers as connection

    beside = False
    metadata = field_bytes(_METADATA, _site_metadata(cloud.name))
    for entry in _entries(cloud, peers):
        if entry.kind == names.PEER:
            prototype = connection.peer(by_certificate=peers.trust_domain is not None)
        else:
            prototype = connection.front()
        rds = connection.rds_source() + field_string(_ROUTE_CONFIG_NAME, entry.name)
        manager = prototype + field_bytes(_RDS, rds) + _http_filters(entry, earlier)
        beside = True
        yield (
            entry.name,
            _listener(
                entry.name,
                manager + _access_log(entry.name, access_log),
                _tls(cloud, entry, peers),
            )
            + field_bytes(_ADDRESS, _socket(entry.address, entry.port))
            + field_string(_STAT_PREFIX, entry.name)
            + connection.listener(entry.kind, shared=earlier)
            + metadata,
        )
    if beside:
        internal = field_bytes(_INTERNAL_LISTENER, b"") + metadata
        lua = connection.lua_filter() + field_string(_NAME, names.lua(names.DISPATCH))
        dispatch = connection.dispatch() + b"".join(
            field_bytes(_HTTP_FILTERS, each)
            for each in (lua, *connection.last_filters(policy=False, dial=not earlier))
        )
        dispatch += _access_log(names.DISPATCH, access_log)
        yield names.DISPATCH, _listener(names.DISPATCH, dispatch) + internal
        yield names.ERRORS, _listener(names.ERRORS, connection.errors()) + internal


def _routes(cloud: Cloud, peers: _Peers) -> Iterator[_Named]:
    """Yield name and encoded `RouteConfiguration`, one for each port of a front."""
    from scopeway.control_plane.translator import route_templates as route

    check = field_bytes(_ROUTES, field_bytes(_MATCH, _has_been_at(cloud.name)) + route.loop())
    for entry in _entries(cloud, peers):
        if entry.kind == names.PEER:
            continue
        behind_tls = cloud.front is not None and is_secure(cloud.front) and not cloud.front.tls
        host = route.front(entry.name, behind_tls=behind_tls)
        own = (
            field_bytes(_ROUTES, field_bytes(_MATCH, _is_own(cloud.name, each)) + each.fields)
            for each in host.own
        )
        whole = b"".join((host.unnamed, check, host.head, *own, host.rest))
        yield entry.name, field_string(_NAME, entry.name) + field_bytes(_VIRTUAL_HOSTS, whole)


def secrets(cloud: Cloud) -> dict[str, bytes]:
    """Return name to encoded `Secret`: the certificate of a front that speaks TLS."""
    if cloud.front is None or cloud.front.tls is None:
        return {}
    from scopeway.control_plane.translator import tls

    files = cloud.front.tls
    certificate = tls.file_certificate(
        names.CERTIFICATE, certificate=files.certificate, key=files.key
    )
    return {names.CERTIFICATE: certificate}


def _filters(cloud: Cloud, peers: _Peers) -> Iterator[_Named]:
    """Yield name and encoded `TypedExtensionConfig`: the Lua of listeners, and that of links."""
    beside = False
    common = _constants(cloud)
    for entry in _entries(cloud, peers):
        script = _script(cloud, entry, entry.kind, peers, common)
        lua = nested(_DEFAULT_SOURCE_CODE, _inline(script))
        if entry.kind == names.FRONT:
            # in one resource with that: no Envoy has a front's Lua without the one for its answers
            answers = nested(_VALUE, _inline(_script(cloud, entry, names.ANSWERS, peers, common)))
            lua += nested(_SOURCE_CODES, (field_string(_KEY, names.ANSWERS), *answers))
        else:
            upgrades = nested(_VALUE, _inline(_script(cloud, entry, names.UPGRADES, peers, common)))
            lua += nested(_SOURCE_CODES, (field_string(_KEY, names.UPGRADES), *upgrades))
        beside = True
        yield names.lua(entry.name), _filter(names.lua(entry.name), lua)
    if beside:
        yield names.LINKS, _links()
        dispatch = _inline(bundle(names.DISPATCH, common))
        name = names.lua(names.DISPATCH)
        yield name, _filter(name, nested(_DEFAULT_SOURCE_CODE, dispatch))


def _inline(script: str) -> list[bytes]:
    return nested(_INLINE_STRING, (script.encode(),))


def _filter(name: str, lua: Iterable[bytes]) -> bytes:
    config = (field_string(_TYPE_URL, names.LUA_TYPE), *nested(_ANY_VALUE, lua))
    return b"".join((field_string(_NAME, name), *nested(_EXTENSION_CONFIG, config)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """A listener with an address."""

    name: str
    kind: str
    """`front` or `peer`; also the entry of the Lua filters."""
    address: str
    port: int
    service: str | None = None
    """The one service of a front's port of its own."""


def _entries(cloud: Cloud, peers: _Peers) -> Iterator[_Entry]:
    front, peer = cloud.front, cloud.peer
    if front is not None:
        bind = front.bind or front.address
        yield _Entry(name=names.FRONT, kind=names.FRONT, address=bind, port=front.port)
        for service, port in front.ports.items():
            name = names.front_of(service)
            yield _Entry(name=name, kind=names.FRONT, address=bind, port=port, service=service)
    if peer is not None:
        bind = peer.bind or peer.address
        # without TLS, whoever reaches a peer is who it says
        if peers.trust_domain is not None or peers.insecure or ip_address(bind).is_loopback:
            yield _Entry(name=names.PEER, kind=names.PEER, address=bind, port=peer.port)


def _script(
    cloud: Cloud, entry: _Entry, which: str, peers: _Peers, common: Mapping[str, object]
) -> str:
    constants = dict(common)
    constants["max_targets"] = MAX_TARGETS
    constants["new_targets_per_second"] = NEW_TARGETS_PER_SECOND
    constants["new_targets_burst"] = NEW_TARGETS_BURST
    if entry.service is not None:
        constants["service"] = entry.service
    if entry.kind == names.PEER:
        constants["limits"] = lua_constants(cloud)
        if peers.trust_domain is not None:
            constants["callers"] = spiffe_id(peers.trust_domain, "")
    if entry.kind == names.FRONT and cloud.front is not None:
        constants["front"] = _urls(cloud.front)
    return bundle(which, constants)


def _constants(cloud: Cloud) -> dict[str, object]:
    # thousands of names perhaps, in each of a hundred scripts
    ids = {name: literal(value) for name, value in id_constants(cloud).items()}
    return {"site": cloud.name, "services": _service_words(), **ids}


@cache
def _links() -> bytes:
    from scopeway.control_plane.translator import link_filter as links

    return links.configuration(bundle(names.LINKS, {"services": _service_words()}))


def _urls(front: Front) -> Mapping[str, object]:
    """Where a front is reached, and what its clients call the place."""
    urls: dict[str, object] = {"url": front_url(front), "ports": service_urls(front)}
    return {**urls, "region": front.region} if front.region else urls


@cache
def _service_words() -> Mapping[str, str]:
    return {**ALIASES, **{service: service for service in SERVICE_TYPES}}


def _listener(name: str, manager: bytes, transport_socket: bytes = b"") -> bytes:
    filter_ = field_string(_NAME, "http") + field_bytes(
        _TYPED_CONFIG, any_message(_MANAGER_TYPE, manager)
    )
    chain = field_bytes(_FILTERS, filter_) + transport_socket
    return field_string(_NAME, name) + field_bytes(_FILTER_CHAINS, chain)


def _tls(cloud: Cloud, entry: _Entry, peers: _Peers) -> bytes:
    """The field of a listener's filter chain by which it speaks TLS."""
    from scopeway.control_plane.translator import tls

    if entry.kind == names.PEER:
        if peers.trust_domain is None:
            return b""
        return _within(field_bytes(_TRANSPORT_SOCKET, tls.peer(peers.trust_domain)))
    if cloud.front is None or cloud.front.tls is None:
        return b""
    return _within(field_bytes(_TRANSPORT_SOCKET, tls.front()))


def _within(transport_socket: bytes) -> bytes:
    """Add how long a client may take to become one."""
    duration = field_varint(_DURATION_SECONDS, HANDSHAKE_SECONDS)
    return transport_socket + field_bytes(_TRANSPORT_SOCKET_CONNECT_TIMEOUT, duration)


def _http_filters(entry: _Entry, earlier: bool) -> bytes:
    from scopeway.control_plane.translator import http_connection_managers as connection

    lua = connection.lua_filter() + field_string(_NAME, names.lua(entry.name))
    last = connection.last_filters(policy=entry.kind == names.PEER, dial=not earlier)
    first = [connection.login_filter()] if entry.kind == names.FRONT else []
    return b"".join(field_bytes(_HTTP_FILTERS, each) for each in (*first, lua, *last))


def _access_log(listener: str, path: str) -> bytes:
    from scopeway.control_plane.translator import http_connection_managers as connection
    from scopeway.control_plane.translator.access_log import log_filter

    log = field_string(_PATH, path) + connection.access_log(listener)
    config = field_bytes(_TYPED_CONFIG, any_message(_FILE_LOG_TYPE, log))
    which = log_filter(listener)
    chosen = field_bytes(_LOG_FILTER, which) if which else b""
    return field_bytes(_ACCESS_LOG, field_string(_NAME, "file") + chosen + config)


def _socket(address: str, port: int) -> bytes:
    socket = field_string(_SOCKET_HOST, address) + field_varint(_SOCKET_PORT, port)
    return field_bytes(_SOCKET_ADDRESS, socket)


def _site_metadata(cloud: str) -> bytes:
    value = field_bytes(_VALUE, field_string(_STRING_VALUE, cloud))
    struct = field_bytes(_STRUCT_FIELDS, field_string(_KEY, names.SITE) + value)
    entry = field_string(_KEY, names.METADATA) + field_bytes(_VALUE, struct)
    return field_bytes(_FILTER_METADATA, entry)


def _has_been_at(cloud: str) -> bytes:
    """A `RouteMatch` of requests that carry what this site's front appends to `via`.

    No other cloud's name can end or begin like it: "1.1 " comes before it, and a dot after it.
    """
    contains = field_bytes(_STRING_MATCH, field_string(_CONTAINS, f"1.1 {cloud}.scopeway"))
    header = field_string(_NAME, "via") + contains
    return field_string(_PREFIX, "/") + field_bytes(_HEADERS, header)


def _is_own(cloud: str, route: "OwnRoute") -> bytes:
    """A `RouteMatch` of targets that this site's own services serve, and nobody else may."""
    suffix = field_bytes(_STRING_MATCH, field_string(_SUFFIX, f"@{cloud}"))
    match = field_string(_PREFIX, "/")
    if route.limit is not None:
        exact = field_bytes(_STRING_MATCH, field_string(_EXACT, route.limit))
        match += field_bytes(_HEADERS, field_string(_NAME, names.LIMIT) + exact)
    match += field_bytes(_HEADERS, field_string(_NAME, names.TARGET) + suffix)
    if route.awaited:
        present = field_string(_NAME, names.ANSWER) + field_varint(_PRESENT_MATCH, 1)
        match += field_bytes(_HEADERS, present)
    return match
