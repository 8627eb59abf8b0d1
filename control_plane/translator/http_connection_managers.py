"""The HTTP connection managers of the five kinds of listeners, encoded once for all sites.

`listeners` appends what differs between two listeners of one kind: names, and the path of the
access log.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import cache

from envoy_data_plane.envoy.config.common.mutation_rules.v3 import (
    HeaderMutation,
)
from envoy_data_plane.envoy.config.core.v3 import (
    CidrRange,
    DataSource,
    ExtensionConfigSource,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    KeepaliveSettings,
    SocketOption,
    SubstitutionFormatString,
    TcpKeepalive,
)
from envoy_data_plane.envoy.config.listener.v3 import (
    Listener,
    ListenerConnectionBalanceConfig,
    ListenerConnectionBalanceConfigExactBalance,
)
from envoy_data_plane.envoy.extensions.filters.common.set_filter_state.v3 import FilterStateValue
from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer
from envoy_data_plane.envoy.extensions.filters.http.on_demand.v3 import OnDemand, OnDemandCds
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.http.set_filter_state.v3 import (
    Config as SetFilterState,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerCodecType,
    HttpConnectionManagerInternalAddressConfig,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpConnectionManagerServerHeaderTransformation,
    HttpConnectionManagerUpgradeConfig,
    HttpFilter,
    Rds,
    RequestIdExtension,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import (
    HeaderMutation as EarlyHeaderMutation,
)
from envoy_data_plane.envoy.extensions.request_id.uuid.v3 import UuidRequestIdConfig
from envoy_data_plane.envoy.type.matcher.v3 import RegexMatcher, StringMatcher
from envoy_data_plane.google.protobuf import Any

from scopeway.control_plane.translator import link_filter, local_replies, names, route_templates
from scopeway.control_plane.translator.access_log import log_format
from scopeway.control_plane.translator.early_headers import (
    NOT_FROM_A_COLLECTOR,
    OURS,
    UNDERSCORES,
    all_but,
    all_but_words,
    like,
    one_name_of_tokens,
    prefixed,
)
from scopeway.control_plane.translator.envoy_types import ads, extension, overwrite
from scopeway.control_plane.translator.rbac import deny_all, no_class
from scopeway.xds.encoding.protobuf import field_bytes, field_string

IDLE = timedelta(hours=1)
"""A request may be silent for so long: a service that works on an upload, a console nobody types
at. Envoy's own five minutes would cut them off; forgotten streams still end."""

BETWEEN_REQUESTS = timedelta(minutes=5)
"""How long a client may keep a connection without a request. Connections of clients have no age:
some libraries of HTTP/2 fail when they get a GOAWAY while a download is under way."""

HEADERS_WITHIN = timedelta(seconds=30)
"""Who sends its headers slower holds a connection for nothing."""

ON_DEMAND_TIMEOUT = timedelta(seconds=3)
"""How long a first use waits for the control plane; it answers in milliseconds or is away."""

MAX_HEADERS_KB = 60
"""With a scope in it, one header is still shorter than the 64 kB that HTTP/2 can carry in one: a
longer one would end the connection between two sites, and everybody's requests on it."""

MAX_HEADERS = 200
"""Swift allows 90 pieces of metadata, each a header; Envoy's own limit of 100 is soon reached."""

ADDED_HEADERS_KB = 16
ADDED_HEADERS = 32
"""What every hop but the first takes beyond these, in either direction: each adds its own."""

FRONT_STREAMS = 1024
"""Requests at a time on one connection of HTTP/2 at a front; Envoy refuses further ones unread."""

MAX_CONTROL_ANSWERS = 500
MAX_EMPTY_FRAMES = 1
MAX_PRIORITIES = 100
MAX_WINDOW_UPDATES = 10
"""Frames of HTTP/2 that cost the sender nothing: answers to SETTINGS and PING that it doesn't take,
empty DATA and CONTINUATION in a row, PRIORITY for each stream, WINDOW_UPDATE for each DATA that it
was sent. Beyond, its connection is ended. Envoy's own figures, and said so that they stay; but half
of the first, since Envoy counts after each read, which brings at most 900 of these frames."""

PEER_STREAMS = 128
"""Requests at a time on one connection between two sites. For more, a front opens another
connection; a peer refuses them unread."""

PEER_STREAM_WINDOW = 4 * 1024 * 1024
"""Bytes that one request or answer between two sites may have under way, and so what it costs each
Envoy if nobody takes them. A transfer gets about half of it per round trip: 200 Mbit/s at 80 ms."""

PEER_CONNECTION_WINDOW = 2 * PEER_STREAMS * PEER_STREAM_WINDOW + 65536
"""The same for a whole connection. Envoy returns window only after half of it was consumed. So
streams that nobody reads stop the others once they hold half of it, which this makes impossible."""

FRONT_STREAM_WINDOW = 256 * 1024
"""Bytes that Envoy accepts ahead of one upload over HTTP/2 at a front. It is also Envoy's limit for
the answer that it keeps for a client that does not read: 17 MiB by default."""

READ_AHEAD = 16 * 1024
"""Bytes that Envoy reads of one connection before others have their turn, and that it keeps for one
before it stops reading. With its own 1 MiB, 40 uploads in chunks of one byte held up everybody for
most of a second."""

COLLECT_BUFFER = 64 * 1024
"""Bytes that Envoy keeps of an answer to a collector that does not read it, and of a request that
it sends: hundreds of them are under way at a time."""

STALLED = timedelta(minutes=5)
"""How long a client of a front may take nothing of what was sent: TCP then ends its connection. A
client that reads slowly is not affected. Envoy does not count what answers over HTTP/1.1 hold, so
the overload manager cannot end these (`envoy/bootstrap.yaml`)."""

CLOSING = timedelta(seconds=5)
"""How long a connection that is to be closed may take nothing of what is left, a third of TCP's
send buffer at a time: 1.4 MB at most. Envoy's own second cut off the end of slow downloads with
`Connection: close`. It is no longer because a refused connection, and an idle one over HTTP/1.1,
is closed only after this time: its client waits so long for the end, if it looks at nothing else.
"""

UPGRADE = "websocket"
"""What a connection to a front may become; a wish for anything else is ignored."""

PEER_PING = timedelta(seconds=30)
"""How often a quiet peer is asked whether it is still there."""

DISPATCH_IDLE = timedelta(minutes=1)
"""How long a connection inside Envoy, between a target of several clouds and `dispatch`, is open
without a request that `dispatch` knows. This ends those whose upload the overload manager has
ended: Envoy answers these nothing, and reads on. The others are idle for less, see
`control_plane.translator.cluster_templates`. An age would cut off answers: when it closes a
connection, `dispatch` sends no more of what it still holds."""

_LOG_FORMAT = 5
"""In a FileAccessLog."""

PEER_AGE = timedelta(minutes=10)
"""After so long, a connection between sites takes no further request, and a new one proves again
who is there: longer than this nobody is believed whose certificate has ended, or whose authority is
trusted no longer. What is under way goes on."""


_CALLER = "%DOWNSTREAM_PEER_URI_SAN%"
"""The URI of the caller's certificate, which the Lua makes a cloud's name of."""

# of Linux (netinet/in.h, linux/tcp.h): the Envoy may run on another system than this
_IPPROTO_TCP, _TCP_USER_TIMEOUT = 6, 18
# HttpFilter
_FILTER_NAME, _FILTER_CONFIG = 1, 4

_Action = HttpConnectionManagerPathWithEscapedSlashesAction
_Server = HttpConnectionManagerServerHeaderTransformation


@cache
def front() -> bytes:
    """Return what the managers of fronts share: all but RDS, the filters and the access log."""
    manager = _edge(
        names.FRONT,
        [
            prefixed("x-scopeway-"),
            prefixed("x-forwarded-"),
            # WSGI's proxy middleware believes it before X-Forwarded-*
            HeaderMutation(remove="forwarded"),
        ],
    )
    # as RFC 9110, 7.8, has it: the request is served as if it had not asked
    manager.http_protocol_options = Http1ProtocolOptions(
        ignore_http_11_upgrade=[
            StringMatcher(safe_regex=RegexMatcher(regex=each)) for each in all_but(UPGRADE)
        ]
    )
    return bytes(manager)


@cache
def peer(*, by_certificate: bool) -> bytes:
    """Return what the managers of peers share: all but RDS, the filters and the access log.

    `by_certificate`: who calls is what its certificate says; otherwise, what its front says.
    """
    no_certificate = [] if by_certificate else ["origin"]
    manager = _edge(
        names.PEER,
        # the listener `collect` of the origin has set the first, its front the other one
        [like(OURS + rest) for rest in all_but_words("fanout", *no_certificate)],
        add=[HeaderMutation(append=overwrite(names.ORIGIN, _CALLER))] if by_certificate else [],
    )
    manager.codec_type = HttpConnectionManagerCodecType.HTTP2
    manager.local_reply_config = local_replies.local_replies(mark_unreachable=True)
    http2 = _http2()
    http2.max_concurrent_streams = PEER_STREAMS
    http2.allow_connect = True  # WebSockets over HTTP/2
    http2.initial_stream_window_size = PEER_STREAM_WINDOW
    http2.initial_connection_window_size = PEER_CONNECTION_WINDOW
    http2.connection_keepalive = KeepaliveSettings(interval=PEER_PING, timeout=PEER_PING / 2)
    manager.http2_protocol_options = http2
    # the front of the origin is the one proxy before us: its X-Forwarded-* and request id stay
    manager.xff_num_trusted_hops = 1
    manager.preserve_external_request_id = True
    _take_what_a_front_took(manager)
    if by_certificate:
        assert manager.common_http_protocol_options is not None
        manager.common_http_protocol_options.max_connection_duration = PEER_AGE
    return bytes(manager)


@cache
def dispatch() -> bytes:
    """Return the manager of `dispatch`, all but the access log."""
    manager = _inner(names.DISPATCH)
    assert manager.common_http_protocol_options is not None
    manager.common_http_protocol_options.idle_timeout = DISPATCH_IDLE
    manager.drain_timeout = timedelta(seconds=1)
    # the target of the outer cluster: left in place, a request without metadata would loop for ever
    manager.early_header_mutation_extensions = [
        extension("strip", EarlyHeaderMutation(mutations=[HeaderMutation(remove=names.TARGET)]))
    ]
    manager.upgrade_configs = _upgrades()
    manager.local_reply_config = local_replies.local_replies(
        mark_unsent=True, mark_unreachable=True
    )
    manager.route_config = route_templates.dispatch()
    return bytes(manager)


@cache
def collect() -> bytes:
    """Return what the managers of `collect` share: all but RDS, the filters and the access log."""
    manager = _inner(names.COLLECT)
    manager.codec_type = HttpConnectionManagerCodecType.HTTP1
    manager.stream_idle_timeout = IDLE
    assert manager.common_http_protocol_options is not None
    manager.common_http_protocol_options.idle_timeout = BETWEEN_REQUESTS
    manager.early_header_mutation_extensions = [
        extension(
            "strip",
            EarlyHeaderMutation(
                mutations=[
                    prefixed("x-envoy-"),
                    *(HeaderMutation(remove=header) for header in NOT_FROM_A_COLLECTOR),
                ]
            ),
        )
    ]
    manager.local_reply_config = local_replies.local_replies(
        mark_unsent=True, mark_unreachable=True
    )
    return bytes(manager)


@cache
def errors() -> bytes:
    """Return the manager of `errors`, whole."""
    manager = _inner(names.ERRORS)
    manager.route_config = route_templates.errors()
    manager.http_filters = [_router()]
    return bytes(manager)


@cache
def listener(kind: str, *, shared: bool) -> bytes:
    """Return what all listeners with an address share.

    Args:
        kind: `front` or `peer`.
        shared: Another Envoy may listen on the same port, as earlier versions had it.
    """
    made = Listener(
        # a client that vanished would hold its connection for the whole of IDLE
        tcp_keepalive=TcpKeepalive(keepalive_probes=3, keepalive_time=60, keepalive_interval=10),
        per_connection_buffer_limit_bytes=READ_AHEAD,
    )
    if not shared:
        # two Envoys on one port would each get some of its connections, without a message.
        # All workers then wait at one socket, and the kernel no longer spreads connections
        made.enable_reuse_port = False
        made.connection_balance_config = ListenerConnectionBalanceConfig(
            exact_balance=ListenerConnectionBalanceConfigExactBalance()
        )
        if kind == names.FRONT:  # peers are asked by HTTP/2 whether they live, and always read
            made.socket_options = [_user_timeout()]
    return bytes(made)


@cache
def collect_listener() -> bytes:
    """Return what the listeners `collect` share."""
    return bytes(Listener(per_connection_buffer_limit_bytes=COLLECT_BUFFER))


@cache
def rds_source() -> bytes:
    """Return the `Rds` of a manager, all but the name."""
    return bytes(Rds(config_source=ads()))


@cache
def access_log(listener: str) -> bytes:
    """Return the `FileAccessLog` of a listener, all but the path."""
    return field_bytes(_LOG_FORMAT, log_format(listener))


@cache
def lua_filter() -> bytes:
    """Return the `HttpFilter` that gets its Lua by discovery, all but the name.

    It has no default: until the Lua is there, and if it never comes, requests are refused.
    """
    source = ExtensionConfigSource(config_source=ads(), type_urls=[names.LUA_TYPE])
    return bytes(HttpFilter(config_discovery=source))


@cache
def login_filter() -> bytes:
    """Return the filter before the Lua of fronts that reads a login's body; its route asks for it.

    It holds a bounded body and answers a longer one with 413, while the Lua would hold as much as a
    stream's window.
    """
    config = Any.pack(Buffer(max_request_bytes=route_templates.MAX_LOGIN))
    return bytes(HttpFilter(name=names.BUFFER, typed_config=config, disabled=True))


@cache
def last_filters(*, policy: bool, dial: bool) -> tuple[bytes, ...]:
    """Return the filters behind the Lua, in their order.

    Args:
        policy: With that of a peer.
        dial: With the one that clusters of one host name need.
    """
    # the policy behind the Lua, which says the service, and before anybody is asked for a cluster;
    # on_demand behind the Lua, which makes the name; then what reads the cluster's metadata; the
    # router is always the last
    filters = (_on_demand(), *([_dial()] if dial else []), link_filter.http_filter(), _router())
    last = tuple(bytes(each) for each in filters)
    return (*_policy(), *last) if policy else last


def _edge(
    stat_prefix: str, remove: list[HeaderMutation], *, add: Sequence[HeaderMutation] = ()
) -> HttpConnectionManager:
    """What listeners share that strangers speak to."""
    manager = _manager(stat_prefix)
    manager.early_header_mutation_extensions = [
        extension(
            "strip",
            EarlyHeaderMutation(
                mutations=[
                    # Envoy removes only some of them, and none from what it takes for internal
                    prefixed("x-envoy-"),
                    like(UNDERSCORES),
                    *one_name_of_tokens(),
                    *remove,
                    *add,
                ]
            ),
        )
    ]
    assert manager.common_http_protocol_options is not None
    manager.common_http_protocol_options.idle_timeout = BETWEEN_REQUESTS
    manager.use_remote_address = True
    manager.always_set_request_id_in_response = True  # what to look for in the access logs
    manager.request_headers_timeout = HEADERS_WITHIN
    manager.delayed_close_timeout = CLOSING
    manager.upgrade_configs = _upgrades()
    manager.local_reply_config = local_replies.local_replies()
    manager.http2_protocol_options = _http2()
    return manager


def _http2() -> Http2ProtocolOptions:
    return Http2ProtocolOptions(
        max_concurrent_streams=FRONT_STREAMS,
        initial_stream_window_size=FRONT_STREAM_WINDOW,
        max_outbound_control_frames=MAX_CONTROL_ANSWERS,
        max_consecutive_inbound_frames_with_empty_payload=MAX_EMPTY_FRAMES,
        max_inbound_priority_frames_per_stream=MAX_PRIORITIES,
        max_inbound_window_update_frames_per_data_frame_sent=MAX_WINDOW_UPDATES,
    )


def _user_timeout() -> SocketOption:
    """Linux's TCP_USER_TIMEOUT; accepted connections inherit it from the listening socket."""
    return SocketOption(
        description="end connections whose client takes nothing",
        level=_IPPROTO_TCP,
        name=_TCP_USER_TIMEOUT,
        int_value=int(STALLED.total_seconds() * 1000),
    )


def _inner(stat_prefix: str) -> HttpConnectionManager:
    """What the internal listeners share: the front has done all that is done once."""
    manager = _manager(stat_prefix)
    manager.stream_idle_timeout = timedelta(0)  # the front's counts
    manager.skip_xff_append = True
    manager.preserve_external_request_id = True
    _take_what_a_front_took(manager)
    return manager


def _manager(stat_prefix: str) -> HttpConnectionManager:
    return HttpConnectionManager(
        stat_prefix=stat_prefix,
        # object names hold `//` and `%2F`: no byte of a path is touched
        normalize_path=False,
        merge_slashes=False,
        path_with_escaped_slashes_action=_Action.KEEP_UNCHANGED,
        # nobody is internal, not even on loopback, where OpenStack's own services are clients:
        # an address that no client can have
        internal_address_config=HttpConnectionManagerInternalAddressConfig(
            cidr_ranges=[CidrRange(address_prefix="255.255.255.255", prefix_len=32)]
        ),
        server_header_transformation=_Server.PASS_THROUGH,
        request_id_extension=RequestIdExtension(
            # plain UUIDs: nothing is traced by them but the access log
            typed_config=Any.pack(UuidRequestIdConfig(pack_trace_reason=False))
        ),
        common_http_protocol_options=HttpProtocolOptions(
            max_headers_count=MAX_HEADERS,
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.ALLOW,
        ),
        max_request_headers_kb=MAX_HEADERS_KB,
        stream_idle_timeout=IDLE,
    )


def _take_what_a_front_took(manager: HttpConnectionManager) -> None:
    manager.max_request_headers_kb = MAX_HEADERS_KB + ADDED_HEADERS_KB
    options = manager.common_http_protocol_options
    assert options is not None
    options.max_headers_count = MAX_HEADERS + ADDED_HEADERS


def _upgrades() -> list[HttpConnectionManagerUpgradeConfig]:
    return [HttpConnectionManagerUpgradeConfig(upgrade_type=UPGRADE)]


def _policy() -> tuple[bytes, bytes]:
    classes = field_string(_FILTER_NAME, names.CLASSES) + field_bytes(_FILTER_CONFIG, no_class())
    rbac = field_string(_FILTER_NAME, names.RBAC) + field_bytes(_FILTER_CONFIG, deny_all())
    return classes, rbac


def _on_demand() -> HttpFilter:
    config = OnDemand(odcds=OnDemandCds(source=ads(), timeout=ON_DEMAND_TIMEOUT))
    return HttpFilter(name="on_demand", typed_config=Any.pack(config))


def _dial() -> HttpFilter:
    # tells clusters of one host name which it is; without it Envoy would take the client's Host
    target = FilterStateValue(
        object_key="envoy.upstream.dynamic_host",
        format_string=SubstitutionFormatString(
            text_format_source=DataSource(
                inline_string=f"%CLUSTER_METADATA({names.METADATA}:{names.DIALLED})%"
            ),
            omit_empty_values=True,
        ),
        skip_if_empty=True,
    )
    config = SetFilterState(on_request_headers=[target])
    return HttpFilter(name="dial", typed_config=Any.pack(config))


def _router() -> HttpFilter:
    # Envoy's own headers would tell clients and services what is none of their business
    return HttpFilter(name="router", typed_config=Any.pack(Router(suppress_envoy_headers=True)))
