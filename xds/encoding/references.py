"""What the messages of clusters, listeners and routes refer to, read from their bytes.

Only the fields that hold a reference are read, by their numbers; everything else is skipped. A
message that cannot be read refers to nothing: the client says what is wrong with it.
"""

from collections.abc import Iterator
from typing import Final

from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import endpoints_name
from scopeway.xds.resource import Resource

_EXTENSIONS: Final = "type.googleapis.com/envoy.extensions.filters.network."
_HTTP: Final = _EXTENSIONS + "http_connection_manager.v3.HttpConnectionManager"
_TCP: Final = _EXTENSIONS + "tcp_proxy.v3.TcpProxy"

_Span = tuple[int, int]
_Path = tuple[int, ...]

# paths of field numbers, each from the message that is named
# envoy.config.route.v3.RouteAction: cluster, weighted_clusters.clusters.name, mirror policies
_OF_ACTION: Final[tuple[_Path, ...]] = ((1,), (3, 1, 1), (30, 1))
# VirtualHost: routes.route, request_mirror_policies.cluster
_OF_VIRTUAL_HOST: Final = (*((3, 2, *path) for path in _OF_ACTION), (22, 1))
# RouteConfiguration: virtual_hosts, request_mirror_policies.cluster
_OF_ROUTES: Final = (*((2, *path) for path in _OF_VIRTUAL_HOST), (13, 1))
# TcpProxy: cluster, weighted_clusters.clusters.name
_OF_TCP_PROXY: Final[tuple[_Path, ...]] = ((2,), (10, 1, 1))
# TcpProxy: on_demand.odcds_config, which gets the clusters when a connection needs them
_ON_DEMAND: Final[_Path] = (14, 1)
# Listener: typed_config of the filters in filter_chains and default_filter_chain, api_listener
_FILTERS_OF_LISTENER: Final[tuple[_Path, ...]] = ((3, 3, 4), (25, 3, 4), (19, 1))
# HttpConnectionManager: route_config, rds
_ROUTE_CONFIG: Final[_Path] = (4,)
_RDS: Final[_Path] = (3,)
# envoy.config.core.v3.ConfigSource: ads, self
_FROM_HERE: Final = frozenset({3, 5})


def clusters_of_routes(routes: Resource) -> set[str]:
    """Return the clusters that a RouteConfiguration names.

    Those that a request chooses (`cluster_header`) or a plugin are not known.
    """
    return _strings(routes.body, _OF_ROUTES)


def clusters_of_virtual_host(host: Resource) -> set[str]:
    """Return the clusters that a VirtualHost names."""
    return _strings(host.body, _OF_VIRTUAL_HOST)


def clusters_of_listener(listener: Resource) -> set[str]:
    """Return the clusters that a Listener names, in TCP proxies and in routes inside of it."""
    body = listener.body
    names = set()
    for type_url, span in _filters(body):
        if type_url == _TCP and not any(_spans(body, _ON_DEMAND, *span)):
            names |= _strings(body, _OF_TCP_PROXY, span)
        elif type_url == _HTTP:
            names |= _strings(body, [(*_ROUTE_CONFIG, *path) for path in _OF_ROUTES], span)
    return names


def routes_of_listener(listener: Resource) -> set[str]:
    """Return the route configurations that a Listener gets by RDS from the server it is from."""
    body = listener.body
    names = set()
    for type_url, span in _filters(body):
        for start, end in _spans(body, _RDS, *span) if type_url == _HTTP else ():
            if _is_from_here(body, start, end):
                names |= _strings(body, [(2,)], (start, end))  # Rds.route_config_name
    return names - {""}


def endpoints_of_cluster(cluster: Resource) -> tuple[str | None, bool]:
    """Return the ClusterLoadAssignment that fills a Cluster, and whether this server is to have it.

    None: the cluster is not filled by EDS. False: its `eds_config` names a file or a server.
    """
    body = cluster.body
    from_here = any(
        _is_from_here(body, start, end) for start, end in _spans(body, (3,), 0, len(body))
    )
    return endpoints_name(cluster), from_here


def _is_from_here(body: bytes, start: int, end: int) -> bool:
    """Return whether the field 1 of a message, a ConfigSource, says ADS or "self"."""
    for first, last in _spans(body, (1,), start, end):
        if any(number in _FROM_HERE for number, _, _ in _fields(body, first, last)):
            return True
    return False


def _filters(body: bytes) -> Iterator[tuple[str, _Span]]:
    """Yield the type URL and the place of the configuration of each network filter."""
    for path in _FILTERS_OF_LISTENER:
        for start, end in _spans(body, path, 0, len(body)):
            for type_url in _strings(body, [(1,)], (start, end)):
                for span in _spans(body, (2,), start, end):
                    yield type_url, span


def _strings(
    body: bytes, paths: "list[_Path] | tuple[_Path, ...]", span: _Span | None = None
) -> set[str]:
    start, end = span or (0, len(body))
    return {
        wire.text(body, *found) for path in paths for found in _spans(body, path, start, end)
    } - {""}


def _spans(body: bytes, path: _Path, start: int, end: int) -> Iterator[_Span]:
    """Yield the places of what a path of field numbers leads to."""
    for number, first, last in _fields(body, start, end):
        if number != path[0]:
            continue
        if len(path) == 1:
            yield first, last
        else:
            yield from _spans(body, path[1:], first, last)


def _fields(body: bytes, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    try:
        yield from wire.fields(body, start, end)
    except ValueError:
        return
