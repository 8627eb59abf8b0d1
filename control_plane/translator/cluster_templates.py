"""What all clusters of one kind share, built with Envoy's types and encoded once.

Protobuf messages are concatenations of their fields. So `clusters` appends the fields that vary
(name, endpoints, metadata) to one of these templates, and no message object is built for a target.
"""

from datetime import timedelta
from functools import cache
from hashlib import blake2b

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterCustomClusterType,
    ClusterDnsLookupFamily,
    ClusterRefreshRate,
    OutlierDetection,
    UpstreamConnectionOptions,
)
from envoy_data_plane.envoy.config.common.matcher.v3 import (
    HttpHeadersMatch,
    MatchPredicate,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    KeepaliveSettings,
    TcpKeepalive,
    TransportSocket,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HttpProtocolOptions as CommonOptions,
)
from envoy_data_plane.envoy.config.route.v3 import (
    HeaderMatcher,
    RetryPolicy,
    RetryPolicyRetryBackOff,
    RetryPolicyRetryHostPredicate,
    RetryPolicyRetryPriority,
)
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster, DnsClusterRefreshRate
from envoy_data_plane.envoy.extensions.common.dynamic_forward_proxy.v3 import (
    DnsCacheCircuitBreakers,
    DnsCacheConfig,
)
from envoy_data_plane.envoy.extensions.network.dns_resolver.cares.v3 import CaresDnsResolverConfig
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from envoy_data_plane.envoy.extensions.retry.priority.previous_priorities.v3 import (
    PreviousPrioritiesConfig,
)
from envoy_data_plane.envoy.extensions.transport_sockets.internal_upstream.v3 import (
    InternalUpstreamTransport,
    InternalUpstreamTransportMetadataValueSource,
)
from envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import (
    HttpProtocolOptions,
    HttpProtocolOptionsExplicitHttpConfig,
    HttpProtocolOptionsOutlierDetection,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKind, MetadataKindHost
from envoy_data_plane.google.protobuf import Any

from scopeway.control_plane.translator.http_connection_managers import (
    ADDED_HEADERS,
    ADDED_HEADERS_KB,
    MAX_HEADERS,
    MAX_HEADERS_KB,
    PEER_CONNECTION_WINDOW,
    PEER_STREAM_WINDOW,
    PEER_STREAMS,
)
from scopeway.control_plane.translator.names import METADATA, UNREACHABLE, UNSENT
from scopeway.xds.encoding.protobuf import (
    any_message,
    field_bool,
    field_bytes,
    field_string,
    field_varint,
)

DNS_WITHIN = timedelta(seconds=2)
"""How long a request waits for the address of a host name, however many name servers are silent."""

DNS_QUERY_SECONDS = 1
DNS_TRIES = 2
"""How long, and how often, each name server of the machine is asked; each further try takes longer.
First for an address of IPv4, and then, where there is none, of IPv6."""

DNS_REFRESH = timedelta(seconds=5)
"""How often a name is asked for at most, whatever TTL its answers have."""

DNS_RETRY = timedelta(seconds=1)
DNS_LONGEST_RETRY = timedelta(seconds=30)
"""How soon a name is asked for again that could not be resolved, and how late after many times."""

DNS_KEPT = timedelta(days=1)
"""How long an address is kept, and asked for, that nobody uses: a site that is cut off goes on."""

DNS_WAITING = 1024
"""Requests that wait for one host name at a time; further ones are answered at once."""

CONNECT_TIMEOUT = timedelta(seconds=2)
"""Outlives one lost SYN; it is what a silent cloud of an `|` costs before it is ejected."""

SERVICE_CONNECT_TIMEOUT = timedelta(seconds=1.5)
"""The same for a service, without TLS: shorter, as a read tries twice. A SYN is repeated after 1 s,
and a busy service with a full backlog needs some time then."""

EJECTION = timedelta(seconds=10)
"""How long a dead endpoint or cloud is left alone after its first failure."""

MAX_EJECTION = timedelta(seconds=30)
"""How long at most: a cloud that has come back is soon used again."""

SWEEP = timedelta(seconds=5)
"""How often Envoy looks for endpoints whose ejection is over."""

IDLE = timedelta(seconds=60)
"""How long a connection to another site without requests is kept; each costs Envoy some 80 kB."""

SERVICE_IDLE = timedelta(seconds=4)
"""The same for a service. Many servers close after 5 s (Apache, Node); a request that crosses with
that is lost, and only reads can be sent again."""

PING = timedelta(seconds=10)
"""How often an HTTP/2 peer is asked whether it lives: routes have no time-out that would tell."""

NO_LIMIT = 1_000_000
"""For circuit breakers: Envoy's defaults (1,024 requests, 3 retries) would refuse work that the
service itself could take."""

SERVICE_BUFFER = 256 * 1024
"""Bytes that Envoy reads ahead on a connection to a service: what an unread answer costs.
On such a short way, Envoy's default of 1 MiB makes no transfer faster."""

DISPATCH_BUFFER = 64 * 1024
"""Bytes on the way to the listener `dispatch`: what is under way when the first cloud is found dead
must fit into the request's buffer (`control_plane.translator.route_templates`), or it cannot be
sent again."""

CLOUDS_IDLE = timedelta(seconds=4)
"""How long a connection to `dispatch` without requests is kept: `dispatch` ends it after a minute
(ten seconds when memory is short) and does not say so. A request that came then would be lost. The
same for a connection to the collector."""

READS = ("GET", "HEAD")
"""Methods that change nothing, so that a request whose answer is lost may be sent again."""

MAX_ENDPOINT_RETRIES = 4
"""How many further endpoints of one cloud are tried."""

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Cluster, and an entry of its map; HttpProtocolOptions, RetryPolicy, UInt32Value
_PROTOCOL_OPTIONS, _KEY, _ENTRY_VALUE = 36, 1, 2
_RETRY_POLICY, _NUM_RETRIES, _VALUE = 11, 2, 1
# Cluster and its CustomClusterType; ClusterConfig (dynamic_forward_proxy), DnsCacheConfig, and
# SocketAddress
_LB_POLICY, _CLUSTER_PROVIDED, _CLUSTER_TYPE = 6, 6, 38
_TYPE_NAME, _TYPED_CONFIG = 1, 2
_DNS_CACHE_CONFIG, _ALLOW_INSECURE = 1, 2
_NAME, _PRERESOLVE_HOSTNAMES = 1, 10
_SOCKET_HOST, _SOCKET_PORT = 2, 3
_DYNAMIC_FORWARD_PROXY = (
    "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig"
)
_Explicit = HttpProtocolOptionsExplicitHttpConfig
_HTTP1 = _Explicit(http_protocol_options=Http1ProtocolOptions())


def service(endpoints: int, *, waits: bool) -> bytes:
    """Return what clusters of a cloud's own endpoints share.

    `waits`: for the addresses of host names, where `one_name` is not for them.
    """
    return _service(min(endpoints, MAX_ENDPOINT_RETRIES + 1), waits)


@cache
def _service(endpoints: int, waits: bool) -> bytes:
    return bytes(
        Cluster(
            cluster_type=_names() if waits else None,
            connect_timeout=SERVICE_CONNECT_TIMEOUT,
            per_connection_buffer_limit_bytes=SERVICE_BUFFER,
            circuit_breakers=_circuit_breakers(),
            upstream_connection_options=_tcp_keepalive(),
            outlier_detection=_endpoint_ejection() if endpoints > 1 else None,
            typed_extension_protocol_options=_http(
                _HTTP1, _service_retries(endpoints), of_a_service=True
            ),
        )
    )


@cache
def peer(*, waits: bool) -> bytes:
    """Return what clusters of another site's Envoy share; `waits`: as in `service`."""
    pings = KeepaliveSettings(interval=PING, timeout=PING / 2)
    http2 = Http2ProtocolOptions(
        connection_keepalive=pings,
        max_concurrent_streams=PEER_STREAMS,
        # as in the other direction: Envoy's default lets a slow client's download fill 256 MiB here
        initial_stream_window_size=PEER_STREAM_WINDOW,
        initial_connection_window_size=PEER_CONNECTION_WINDOW,
    )
    return bytes(
        Cluster(
            cluster_type=_names() if waits else None,
            connect_timeout=CONNECT_TIMEOUT,
            circuit_breakers=_circuit_breakers(),
            upstream_connection_options=_tcp_keepalive(),
            typed_extension_protocol_options=_http(
                _Explicit(http2_protocol_options=http2), _peer_retries()
            ),
        )
    )


@cache
def cluster_of_clouds(clouds: int) -> bytes:
    """Return what clusters with one priority for each of so many clouds share."""
    fields, options, retries = _cluster_of_clouds()
    # there may be 128 clouds: the number of retries, all that differs, is put in by hand
    retries += field_bytes(_NUM_RETRIES, field_varint(_VALUE, clouds - 1))
    options += field_bytes(_RETRY_POLICY, retries)
    entry = field_string(_KEY, _HTTP_OPTIONS)
    entry += field_bytes(_ENTRY_VALUE, any_message(f"type.googleapis.com/{_HTTP_OPTIONS}", options))
    return fields + field_bytes(_PROTOCOL_OPTIONS, entry)


@cache
def _cluster_of_clouds() -> tuple[bytes, bytes, bytes]:
    """Return the `Cluster` without its protocol's options, these without retries, and those."""
    host = InternalUpstreamTransportMetadataValueSource(
        kind=MetadataKind(host=MetadataKindHost()), name=METADATA
    )
    transport = InternalUpstreamTransport(
        passthrough_metadata=[host],
        transport_socket=TransportSocket(
            name="envoy.transport_sockets.raw_buffer", typed_config=Any.pack(RawBuffer())
        ),
    )
    cluster = Cluster(
        connect_timeout=CONNECT_TIMEOUT,
        per_connection_buffer_limit_bytes=DISPATCH_BUFFER,
        circuit_breakers=_circuit_breakers(),
        outlier_detection=_cloud_ejection(),
        transport_socket=TransportSocket(
            name="envoy.transport_sockets.internal_upstream", typed_config=Any.pack(transport)
        ),
    )
    options = _http_options(_HTTP1)
    assert options.common_http_protocol_options is not None
    options.common_http_protocol_options.idle_timeout = CLOUDS_IDLE
    options.outlier_detection = _evidence_of_a_dead_cloud()
    return bytes(cluster), bytes(options), bytes(_cloud_retries())


@cache
def negative() -> bytes:
    """Return what clusters share whose one endpoint is the listener `errors`."""
    return bytes(
        Cluster(
            connect_timeout=CONNECT_TIMEOUT,
            circuit_breakers=_circuit_breakers(),
            # said explicitly: the retry headers that the front sets for an `|` would allow one
            typed_extension_protocol_options=_http(_HTTP1, RetryPolicy(num_retries=0)),
        )
    )


@cache
def fanout() -> bytes:
    """Return what clusters of fan-outs share, whose one endpoint is the site's collector."""
    options = _http_options(_HTTP1)
    assert options.common_http_protocol_options is not None
    options.common_http_protocol_options.idle_timeout = CLOUDS_IDLE
    # no request may reach the clouds twice: the collector itself knows what to repeat
    options.retry_policy = RetryPolicy(num_retries=0)
    return bytes(
        Cluster(
            connect_timeout=CONNECT_TIMEOUT,
            per_connection_buffer_limit_bytes=SERVICE_BUFFER,
            circuit_breakers=_circuit_breakers(),
            typed_extension_protocol_options={_HTTP_OPTIONS: Any.pack(options)},
        )
    )


def one_name(host: str, port: int) -> bytes:
    """Return what a cluster besides has whose one endpoint is a host name.

    It warms up without an address, and requests wait for that. In Envoy's `DnsCluster` the cluster
    waits, and with one everything that comes after it: the opening of listeners, all first uses.
    Which host is meant a filter says (`control_plane.translator.http_connection_managers`), by the
    cluster's metadata.
    """
    settings, version = _dns_cache()
    # one for all clusters of the host; Envoy takes no other settings for a name that it has
    cache = field_string(_NAME, f"{host}:{port}/{version}") + settings
    address = field_string(_SOCKET_HOST, host) + field_varint(_SOCKET_PORT, port)
    cache += field_bytes(_PRERESOLVE_HOSTNAMES, address)
    config = field_bytes(_DNS_CACHE_CONFIG, cache) + field_bool(_ALLOW_INSECURE, True)
    type_ = field_string(_TYPE_NAME, "envoy.clusters.dynamic_forward_proxy") + field_bytes(
        _TYPED_CONFIG, any_message(_DYNAMIC_FORWARD_PROXY, config)
    )
    return field_varint(_LB_POLICY, _CLUSTER_PROVIDED) + field_bytes(_CLUSTER_TYPE, type_)


@cache
def _dns_cache() -> tuple[bytes, str]:
    """Return the `DnsCacheConfig` that host names share, and a word that differs with it."""
    config = bytes(
        DnsCacheConfig(
            dns_lookup_family=ClusterDnsLookupFamily.V4_PREFERRED,
            dns_refresh_rate=DNS_REFRESH,
            dns_min_refresh_rate=DNS_REFRESH,
            dns_failure_refresh_rate=ClusterRefreshRate(
                base_interval=DNS_RETRY, max_interval=DNS_LONGEST_RETRY
            ),
            dns_query_timeout=DNS_WITHIN,
            host_ttl=DNS_KEPT,
            # one more than there are: Envoy turns requests away while so many are looked up
            max_hosts=2,
            dns_cache_circuit_breaker=DnsCacheCircuitBreakers(max_pending_requests=DNS_WAITING),
            typed_dns_resolver_config=_resolver(DNS_TRIES),
        )
    )
    return config, blake2b(config, digest_size=4).hexdigest()


def _names() -> ClusterCustomClusterType:
    # v4 first: "localhost" and many services have an address of each family, and listen on v4
    dns = DnsCluster(
        dns_lookup_family=DnsLookupFamily.V4_PREFERRED,
        respect_dns_ttl=True,
        dns_min_refresh_rate=DNS_REFRESH,
        dns_refresh_rate=DNS_REFRESH,
        dns_failure_refresh_rate=DnsClusterRefreshRate(
            base_interval=DNS_RETRY, max_interval=DNS_LONGEST_RETRY
        ),
        typed_dns_resolver_config=_resolver(1),  # it holds up others
    )
    return ClusterCustomClusterType(name="envoy.cluster.dns", typed_config=Any.pack(dns))


def _resolver(tries: int) -> TypedExtensionConfig:
    # with Envoy's own figures one silent name server takes up to 118 s
    config = CaresDnsResolverConfig(query_timeout_seconds=DNS_QUERY_SECONDS, query_tries=tries)
    return TypedExtensionConfig(
        name="envoy.network.dns_resolver.cares", typed_config=Any.pack(config)
    )


def _circuit_breakers() -> CircuitBreakers:
    return CircuitBreakers(
        thresholds=[
            CircuitBreakersThresholds(
                max_connections=NO_LIMIT,
                max_pending_requests=NO_LIMIT,
                max_requests=NO_LIMIT,
                max_retries=NO_LIMIT,
            )
        ]
    )


def _tcp_keepalive() -> UpstreamConnectionOptions:
    return UpstreamConnectionOptions(
        tcp_keepalive=TcpKeepalive(keepalive_probes=3, keepalive_time=30, keepalive_interval=10)
    )


def _http(
    protocol: _Explicit, retries: RetryPolicy, *, of_a_service: bool = False
) -> dict[str, Any]:
    options = _http_options(protocol, of_a_service=of_a_service)
    options.retry_policy = retries
    return {_HTTP_OPTIONS: Any.pack(options)}


def _http_options(protocol: _Explicit, *, of_a_service: bool = False) -> HttpProtocolOptions:
    # a service's answer may have as many headers as a request, and each hop adds some of its own
    return HttpProtocolOptions(
        common_http_protocol_options=CommonOptions(
            idle_timeout=SERVICE_IDLE if of_a_service else IDLE,
            max_headers_count=MAX_HEADERS + (0 if of_a_service else ADDED_HEADERS),
            max_response_headers_kb=MAX_HEADERS_KB + (0 if of_a_service else ADDED_HEADERS_KB),
        ),
        explicit_http_config=protocol,
    )


def _service_retries(endpoints: int) -> RetryPolicy:
    if endpoints == 1:
        # a service may close an idle connection just as a request comes. Only for reads: of a write
        # nobody knows whether it was carried out
        return RetryPolicy(
            retry_on="connect-failure,refused-stream,reset",
            num_retries=1,
            retriable_request_headers=[
                HeaderMatcher(name=":method", string_match=StringMatcher(exact=method))
                for method in READS
            ],
            retry_back_off=_soon(),
        )
    return RetryPolicy(
        retry_on="connect-failure,refused-stream",
        num_retries=min(endpoints - 1, MAX_ENDPOINT_RETRIES),
        retry_host_predicate=_other_hosts(),
        host_selection_retry_max_attempts=5,
        retry_back_off=_soon(),
    )


def _peer_retries() -> RetryPolicy:
    # what a peer has refused unread, as when it ends a connection for its age: writes, too. No more
    # than that: a read that tried twice would be twice as long at a site that is silent
    return RetryPolicy(retry_on="refused-stream", num_retries=1, retry_back_off=_soon())


def _cloud_retries() -> RetryPolicy:
    return RetryPolicy(
        # reads also after an answer: the front asks for that in headers, which Envoy adds to this
        retry_on="connect-failure,refused-stream,retriable-headers",
        retriable_headers=[HeaderMatcher(name=UNSENT, present_match=True)],
        retry_priority=RetryPolicyRetryPriority(
            name="envoy.retry_priorities.previous_priorities",
            typed_config=Any.pack(PreviousPrioritiesConfig(update_frequency=1)),
        ),
        retry_host_predicate=_other_hosts(),
        host_selection_retry_max_attempts=5,
        retry_back_off=_soon(),
    )


def _other_hosts() -> list[RetryPolicyRetryHostPredicate]:
    return [
        RetryPolicyRetryHostPredicate(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=Any.pack(PreviousHostsPredicate()),
        )
    ]


def _soon() -> RetryPolicyRetryBackOff:
    # the next attempt goes elsewhere, so there is nothing to wait for
    return RetryPolicyRetryBackOff(
        base_interval=timedelta(milliseconds=1), max_interval=timedelta(milliseconds=5)
    )


def _endpoint_ejection() -> OutlierDetection:
    # only for endpoints that cannot be reached: what a service answers is its own affair
    ejection = _ejection()
    ejection.split_external_local_origin_errors = True
    ejection.consecutive_local_origin_failure = 1
    ejection.enforcing_local_origin_success_rate = 0
    return ejection


def _cloud_ejection() -> OutlierDetection:
    # one failure is enough, but only of the kind below. Resets of the connection to `dispatch` have
    # other causes: a service that closes during an upload, for one
    ejection = _ejection()
    ejection.split_external_local_origin_errors = True
    ejection.enforcing_consecutive_local_origin_failure = 0
    ejection.enforcing_local_origin_success_rate = 0
    ejection.consecutive_5xx = 1
    ejection.enforcing_consecutive_5xx = 100
    return ejection


def _evidence_of_a_dead_cloud() -> HttpProtocolOptionsOutlierDetection:
    """What counts as a failure of a cloud: that no connection to it, or to its service, opens.

    No answer of a service counts, and nothing that becomes of a request once it was sent. A client
    brings it about only by filling the service's queue of connections, for everybody.
    """
    unreachable = HeaderMatcher(name=UNREACHABLE, string_match=StringMatcher(exact="true"))
    headers = HttpHeadersMatch(headers=[unreachable])
    return HttpProtocolOptionsOutlierDetection(
        error_matcher=MatchPredicate(http_response_headers_match=headers)
    )


def _ejection() -> OutlierDetection:
    return OutlierDetection(
        interval=SWEEP,
        base_ejection_time=EJECTION,
        max_ejection_time=MAX_EJECTION,
        max_ejection_percent=100,
        enforcing_consecutive_5xx=0,
        enforcing_success_rate=0,
    )
