"""The resource types of xDS and the order in which an aggregated stream is told about them.

Names for the type URLs only; the session works with any type URL that its source serves. Under each
stands the API that carries it (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).
"""

from typing import Final

_PREFIX = "type.googleapis.com/envoy."

CLUSTER: Final = _PREFIX + "config.cluster.v3.Cluster"
"""CDS."""
ENDPOINT: Final = _PREFIX + "config.endpoint.v3.ClusterLoadAssignment"
"""EDS."""
LISTENER: Final = _PREFIX + "config.listener.v3.Listener"
"""LDS."""
ROUTE: Final = _PREFIX + "config.route.v3.RouteConfiguration"
"""RDS."""
SCOPED_ROUTE: Final = _PREFIX + "config.route.v3.ScopedRouteConfiguration"
"""SRDS."""
VIRTUAL_HOST: Final = _PREFIX + "config.route.v3.VirtualHost"
"""VHDS, delta only."""
SECRET: Final = _PREFIX + "extensions.transport_sockets.tls.v3.Secret"
"""SDS."""
RUNTIME: Final = _PREFIX + "service.runtime.v3.Runtime"
"""RTDS."""
EXTENSION: Final = _PREFIX + "config.core.v3.TypedExtensionConfig"
"""ECDS."""

SEND_ORDER: Final = (
    CLUSTER,
    ENDPOINT,
    LISTENER,
    ROUTE,
    SCOPED_ROUTE,
    VIRTUAL_HOST,
    SECRET,
    RUNTIME,
    EXTENSION,
)
"""What is referred to goes before what refers to it: no listener arrives before its clusters.

Removals of clusters are the exception: they go last (make before break).
"""

_RANK = {type_url: rank for rank, type_url in enumerate(SEND_ORDER)}


def send_rank(type_url: str) -> int:
    """Return the place of a type in the order of an aggregated stream; unknown types go last."""
    return _RANK.get(type_url, len(SEND_ORDER))
