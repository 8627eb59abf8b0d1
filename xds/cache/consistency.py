"""Whether resources that go together refer only to what is there.

As go-control-plane's `Consistent`, and besides whether clusters that routes name are there. Pure.
"""

from collections.abc import Callable, Collection, Iterator, Mapping

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
from scopeway.xds.type_urls import CLUSTER, ENDPOINT, LISTENER, ROUTE, SEND_ORDER, VIRTUAL_HOST


def problems_of(
    resources: Callable[[str], Mapping[str, Resource]],
    static_clusters: frozenset[str],
    type_urls: Collection[str] = SEND_ORDER,
) -> list[str]:
    """Return what is referred to and not there, a sentence each.

    Args:
        resources: From a type URL, the resources of that type by name.
        static_clusters: Clusters that are there besides.
        type_urls: The types that there may be. The nodes have others from elsewhere.
    """
    problems: list[str] = []
    if CLUSTER in type_urls:
        problems += _missing_clusters(resources, static_clusters)
    if ROUTE in type_urls:
        problems += _missing_routes(resources)
    if ENDPOINT in type_urls:
        problems += _missing_endpoints(resources)
    if CLUSTER in type_urls:
        problems += _unused_endpoints(resources, static_clusters)
    return problems


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


def _missing_endpoints(resources: Callable[[str], Mapping[str, Resource]]) -> Iterator[str]:
    for cluster in resources(CLUSTER).values():
        name, is_from_here = endpoints_of_cluster(cluster)
        if name is not None and is_from_here and name not in resources(ENDPOINT):
            yield (
                f"{_the(cluster)} is filled by EDS, and the ClusterLoadAssignment {shown(name)!r} "
                f"is not in the snapshot"
            )


def _unused_endpoints(
    resources: Callable[[str], Mapping[str, Resource]], static_clusters: frozenset[str]
) -> Iterator[str]:
    used = static_clusters | {endpoints_of_cluster(each)[0] for each in resources(CLUSTER).values()}
    for name in sorted(resources(ENDPOINT).keys() - used):
        yield (
            f"the ClusterLoadAssignment {shown(name)!r} belongs to no cluster of the snapshot that "
            f"is filled by EDS; if the nodes have one from elsewhere, list the name in "
            f"static_clusters"
        )


def _the(resource: Resource) -> str:
    return f"the {short(resource.type_url)} {shown(resource.name)!r}"
