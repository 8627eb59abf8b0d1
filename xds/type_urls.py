"""The type URLs of xDS resources, and the order in which an aggregated stream sends them.

A session works with any type URL that its source serves. The string below each constant is the API
of the type (https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol).
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
"""A resource is sent before the resources that refer to it: clusters before their listeners.

Removals of clusters are the exception: they are sent last (make before break).
"""

_RANK = {type_url: rank for rank, type_url in enumerate(SEND_ORDER)}


def send_rank(type_url: str) -> int:
    """Return the position of a type in `SEND_ORDER`; unknown types are last."""
    return _RANK.get(type_url, len(SEND_ORDER))
