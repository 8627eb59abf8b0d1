"""The paths of the objects that Scopeway reads and writes."""

from typing import Final

GROUP: Final = "scopeway.io"
GROUP_VERSION: Final = f"{GROUP}/v1alpha1"

EDGE_CLOUDS: Final = f"/apis/{GROUP_VERSION}/edgeclouds"
CORDONS: Final = f"/apis/{GROUP_VERSION}/cordons"
SERVICE_TYPES: Final = f"/apis/{GROUP_VERSION}/servicetypes"


def leases(namespace: str) -> str:
    """Return the path of the leases of a namespace."""
    return f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"


def config_maps(namespace: str) -> str:
    """Return the path of the config maps of a namespace."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def events(namespace: str) -> str:
    """Return the path of the events of a namespace; `default` for cluster-wide objects."""
    return f"/apis/events.k8s.io/v1/namespaces/{namespace}/events"
