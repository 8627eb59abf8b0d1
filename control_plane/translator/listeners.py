"""Translates a cloud into the encoded listeners of its site.

Appends what differs between sites to the templates of `http_connection_managers`: microseconds, and
no message objects. The numbers below are the field numbers of Envoy's API.
"""

from collections.abc import Iterator
from typing import Final

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator import http_connection_managers as managers
from scopeway.control_plane.translator import names, tls
from scopeway.control_plane.translator.access_log import log_filter
from scopeway.control_plane.translator.collector_sockets import collect_socket
from scopeway.control_plane.translator.listener_addresses import Entry, PeerTransport, entries
from scopeway.control_plane.translator.proto_fields import metadata, socket_address
from scopeway.xds.encoding.protobuf import any_message, field_bytes, field_string, field_varint

HANDSHAKE_SECONDS: Final = 10
"""How long a client may take to begin TLS: till then it has a place, and nobody knows who it is."""

SOCKET_MODE: Final = 0o660
"""Of the socket of `collect`: for Envoy's user, and for the group that the collector shares."""

# envoy.config.core.v3.Address, Pipe
_PIPE, _PIPE_PATH, _PIPE_MODE = 2, 1, 2
# envoy.config.listener.v3.Listener, FilterChain, Filter; google.protobuf.Duration
_NAME, _ADDRESS, _FILTER_CHAINS, _METADATA = 1, 2, 3, 6
_INTERNAL_LISTENER, _STAT_PREFIX = 27, 28
_FILTERS, _TYPED_CONFIG, _TRANSPORT_SOCKET = 3, 4, 6
_TRANSPORT_SOCKET_CONNECT_TIMEOUT, _DURATION_SECONDS = 9, 1
# HttpConnectionManager, Rds, AccessLog, FileAccessLog
_RDS, _HTTP_FILTERS, _ACCESS_LOG, _LOG_FILTER = 3, 5, 13, 2
_ROUTE_CONFIG_NAME, _PATH = 2, 1

_MANAGER_TYPE = (
    "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
    ".HttpConnectionManager"
)
_FILE_LOG_TYPE = "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog"


def listeners(
    cloud: Cloud, access_log: str, peers: PeerTransport, earlier: bool, collector: str
) -> Iterator[tuple[str, bytes]]:
    """Yield name and encoded `Listener`. The internal ones come only if another one uses them."""
    beside = False
    site = field_bytes(_METADATA, metadata({names.SITE: cloud.name}))
    for entry in entries(cloud, peers):
        if entry.kind == names.PEER:
            prototype = managers.peer(by_certificate=peers.trust_domain is not None)
        else:
            prototype = managers.front()
        rds = managers.rds_source() + field_string(_ROUTE_CONFIG_NAME, entry.name)
        manager = prototype + field_bytes(_RDS, rds) + _http_filters(entry, earlier)
        beside = True
        yield (
            entry.name,
            _listener(
                entry.name,
                manager + _access_log(entry.name, access_log),
                _tls(cloud, entry, peers),
            )
            + field_bytes(_ADDRESS, socket_address(entry.address, entry.port))
            + field_string(_STAT_PREFIX, entry.name)
            + managers.listener(entry.kind, shared=earlier)
            + site,
        )
    if beside:
        internal = field_bytes(_INTERNAL_LISTENER, b"") + site
        lua = managers.lua_filter() + field_string(_NAME, names.lua(names.DISPATCH))
        dispatch = managers.dispatch() + b"".join(
            field_bytes(_HTTP_FILTERS, each)
            for each in (
                lua,
                *managers.last_filters(policy=False, dial=not earlier),
            )
        )
        dispatch += _access_log(names.DISPATCH, access_log)
        yield names.DISPATCH, _listener(names.DISPATCH, dispatch) + internal
        yield names.ERRORS, _listener(names.ERRORS, managers.errors()) + internal
        if collector:
            yield names.COLLECT, _collect(collector, access_log) + site


def _collect(folder: str, access_log: str) -> bytes:
    """Return the `Listener` on a socket that only the collector of the site may open."""
    rds = managers.rds_source() + field_string(_ROUTE_CONFIG_NAME, names.COLLECT)
    lua = managers.lua_filter() + field_string(_NAME, names.lua(names.COLLECT))
    filters = b"".join(
        field_bytes(_HTTP_FILTERS, each)
        for each in (lua, *managers.last_filters(policy=False, dial=True))
    )
    manager = managers.collect() + field_bytes(_RDS, rds) + filters
    pipe = field_string(_PIPE_PATH, collect_socket(folder)) + field_varint(_PIPE_MODE, SOCKET_MODE)
    return (
        _listener(names.COLLECT, manager + _access_log(names.COLLECT, access_log))
        + field_bytes(_ADDRESS, field_bytes(_PIPE, pipe))
        + field_string(_STAT_PREFIX, names.COLLECT)
        + managers.collect_listener()
    )


def _listener(name: str, manager: bytes, transport_socket: bytes = b"") -> bytes:
    filter_ = field_string(_NAME, "http") + field_bytes(
        _TYPED_CONFIG, any_message(_MANAGER_TYPE, manager)
    )
    chain = field_bytes(_FILTERS, filter_) + transport_socket
    return field_string(_NAME, name) + field_bytes(_FILTER_CHAINS, chain)


def _tls(cloud: Cloud, entry: Entry, peers: PeerTransport) -> bytes:
    """Return the transport socket of a listener's filter chain; "" without TLS."""
    if entry.kind == names.PEER:
        if peers.trust_domain is None:
            return b""
        return _within(field_bytes(_TRANSPORT_SOCKET, tls.peer(peers.trust_domain)))
    if cloud.front is None or cloud.front.tls is None:
        return b""
    return _within(field_bytes(_TRANSPORT_SOCKET, tls.front()))


def _within(transport_socket: bytes) -> bytes:
    """Add the time limit of the TLS handshake."""
    duration = field_varint(_DURATION_SECONDS, HANDSHAKE_SECONDS)
    return transport_socket + field_bytes(_TRANSPORT_SOCKET_CONNECT_TIMEOUT, duration)


def _http_filters(entry: Entry, earlier: bool) -> bytes:
    lua = managers.lua_filter() + field_string(_NAME, names.lua(entry.name))
    last = managers.last_filters(policy=entry.kind == names.PEER, dial=not earlier)
    first = [managers.login_filter()] if entry.kind == names.FRONT else []
    return b"".join(field_bytes(_HTTP_FILTERS, each) for each in (*first, lua, *last))


def _access_log(listener: str, path: str) -> bytes:
    log = field_string(_PATH, path) + managers.access_log(listener)
    config = field_bytes(_TYPED_CONFIG, any_message(_FILE_LOG_TYPE, log))
    which = log_filter(listener)
    chosen = field_bytes(_LOG_FILTER, which) if which else b""
    return field_bytes(_ACCESS_LOG, field_string(_NAME, "file") + chosen + config)
