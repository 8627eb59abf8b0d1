"""The gRPC services of xDS and the resource type of each.

Names only. The `Fetch…` methods (REST) are left out, so a server returns UNIMPLEMENTED for them.
"""

from dataclasses import dataclass
from typing import Final

from scopeway.xds import type_urls

_PREFIX = "envoy.service."


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One discovery service."""

    name: str
    delta: str
    """The method for delta streams."""
    sotw: str | None
    """The method for state-of-the-world streams; None: delta only."""
    type_url: str | None
    """The resource type of its streams; None: all types (ADS)."""


def _service(name: str, noun: str, type_url: str | None, *, sotw: bool = True) -> Service:
    return Service(
        name=_PREFIX + name,
        delta=f"Delta{noun}",
        sotw=f"Stream{noun}" if sotw else None,
        type_url=type_url,
    )


SERVICES: Final = (
    _service("discovery.v3.AggregatedDiscoveryService", "AggregatedResources", None),
    _service("cluster.v3.ClusterDiscoveryService", "Clusters", type_urls.CLUSTER),
    _service("endpoint.v3.EndpointDiscoveryService", "Endpoints", type_urls.ENDPOINT),
    _service("listener.v3.ListenerDiscoveryService", "Listeners", type_urls.LISTENER),
    _service("route.v3.RouteDiscoveryService", "Routes", type_urls.ROUTE),
    _service("route.v3.ScopedRoutesDiscoveryService", "ScopedRoutes", type_urls.SCOPED_ROUTE),
    _service(
        "route.v3.VirtualHostDiscoveryService", "VirtualHosts", type_urls.VIRTUAL_HOST, sotw=False
    ),
    _service("secret.v3.SecretDiscoveryService", "Secrets", type_urls.SECRET),
    _service("runtime.v3.RuntimeDiscoveryService", "Runtime", type_urls.RUNTIME),
    _service(
        "extension.v3.ExtensionConfigDiscoveryService", "ExtensionConfigs", type_urls.EXTENSION
    ),
)
"""The services that a server offers."""
