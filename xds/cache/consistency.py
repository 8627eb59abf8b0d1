"""Whether resources that go together refer only to what is there.

As go-control-plane's `Consistent`, and besides whether clusters that routes name are there. Pure.
"""

from collections.abc import Callable, Iterator, Mapping

from scopeway.xds.encoding.packing import short
from scopeway.xds.encoding.references import (
    clusters_of_listener,
    clusters_of_routes,
    clusters_of_virtual_host,
    endpoints_of_cluster,
    routes_of_listener,
)
from scopeway.xds.resource import Resource
from scopeway.xds.text import shown
from scopeway.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, VIRTUAL_HOST


def problems_of(
    resources: Callable[[str], Mapping[str, Resource]], static_clusters: frozenset[str]
) -> list[str]:
    """Return what is referred to and not there, a sentence each.

    Args:
        resources: From a type URL, the resources of that type by name.
        static_clusters: Clusters that are there besides.
    """
    return [
        *_missing_clusters(resources, static_clusters),
        *_missing_routes(resources),
        *_endpoints(resources, static_clusters),
    ]


def _missing_clusters(
    resources: Callable[[str], Mapping[str, Resource]], static_clusters: frozenset[str]
) -> Iterator[str]:
    there = resources(CLUSTER).keys() | static_clusters
    for type_url, named_by in (
        (LISTENER, clusters_of_listener),
        (ROUTE, clusters_of_routes),
        (VIRTUAL_HOST, clusters_of_virtual_host),
    ):
        for resource in resources(type_url).values():
            for name in sorted(named_by(resource) - there):
                yield (
                    f"{_the(resource)} refers to the cluster {shown(name)!r}, which is not in the "
                    f"snapshot; if the nodes have it from elsewhere, list it in static_clusters"
                )


def _missing_routes(resources: Callable[[str], Mapping[str, Resource]]) -> Iterator[str]:
    for listener in resources(LISTENER).values():
        for name in sorted(routes_of_listener(listener) - resources(ROUTE).keys()):
            yield (
                f"{_the(listener)} gets the route configuration {shown(name)!r} by RDS, which is "
                f"not in the snapshot"
            )


def _endpoints(
    resources: Callable[[str], Mapping[str, Resource]], static_clusters: frozenset[str]
) -> Iterator[str]:
    used = set(static_clusters)
    for cluster in resources(CLUSTER).values():
        name, is_from_here = endpoints_of_cluster(cluster)
        if name is None:
            continue
        used.add(name)
        if is_from_here and name not in resources(ENDPOINT):
            yield (
                f"{_the(cluster)} is filled by EDS, and the ClusterLoadAssignment {shown(name)!r} "
                f"is not in the snapshot"
            )
    for name in sorted(resources(ENDPOINT).keys() - used):
        yield (
            f"the ClusterLoadAssignment {shown(name)!r} belongs to no cluster of the snapshot that "
            f"is filled by EDS"
        )


def _the(resource: Resource) -> str:
    return f"the {short(resource.type_url)} {shown(resource.name)!r}"
