"""What a snapshot says of references to what it doesn't hold."""

from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterEdsClusterConfig,
)
from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ConfigSource,
    PathConfigSource,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteActionRequestMirrorPolicy,
    RouteConfiguration,
    RouteMatch,
    VirtualHost,
    WeightedCluster,
    WeightedClusterClusterWeight,
)
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    Rds,
)
from envoy_data_plane.envoy.extensions.filters.network.tcp_proxy.v3 import (
    TcpProxy,
    TcpProxyOnDemand,
)
from envoy_data_plane.google.protobuf import Any as AnyMessage

from scopeway import xds

ADS = ConfigSource(ads=AggregatedConfigSource())
FILE = ConfigSource(path_config_source=PathConfigSource(path="/eds.yaml"))
MIRROR = RouteActionRequestMirrorPolicy(cluster="m")
WEIGHTED = RouteAction(
    weighted_clusters=WeightedCluster(clusters=[WeightedClusterClusterWeight(name="w")])
)
ROUTES = "the RouteConfiguration 'r'"
NO_ROUTES = "the Listener 'l' gets the route configuration 'r' by RDS, which is not in the snapshot"


def eds(name: str, service: str = "", source: ConfigSource = ADS) -> Cluster:
    config = ClusterEdsClusterConfig(eds_config=source, service_name=service)
    return Cluster(name=name, type=ClusterDiscoveryType.EDS, eds_cluster_config=config)


def routes(name: str, *actions: RouteAction, **host: Any) -> RouteConfiguration:
    made = [Route(match=RouteMatch(prefix="/"), route=action) for action in actions]
    return RouteConfiguration(
        name=name, virtual_hosts=[VirtualHost(name="v", domains=["*"], routes=made, **host)]
    )


def chain(config: Any) -> FilterChain:
    return FilterChain(filters=[Filter(name="f", typed_config=AnyMessage.pack(config))])


def listener(config: Any) -> Listener:
    return Listener(name="l", filter_chains=[chain(config)])


def rds(name: str, source: ConfigSource = ADS) -> HttpConnectionManager:
    return HttpConnectionManager(rds=Rds(config_source=source, route_config_name=name))


def missing(where: str, name: str) -> str:
    return (
        f"{where} refers to the cluster {name!r}, which is not in the snapshot; if the nodes have "
        f"it from elsewhere, list it in static_clusters"
    )


def no_endpoints(cluster: str, name: str) -> str:
    return (
        f"the Cluster {cluster!r} is filled by EDS, and the ClusterLoadAssignment {name!r} is not "
        f"in the snapshot"
    )


def no_cluster(name: str) -> str:
    return (
        f"the ClusterLoadAssignment {name!r} belongs to no cluster of the snapshot that is filled "
        f"by EDS; if the nodes have one from elsewhere, list the name in static_clusters"
    )


def problems(*resources: Any, **options: Any) -> list[str]:
    """What a cache says of a snapshot of these; it takes what has no problem."""
    cache = xds.SnapshotCache(**options)
    try:
        cache.set("n", *resources)
    except xds.InconsistentSnapshot as error:
        assert cache.get("n") is None
        return list(error.problems)
    assert cache.get("n") is not None
    return []


@pytest.mark.parametrize(
    ("resource", "expected"),
    [
        pytest.param(routes("r", RouteAction(cluster="x")), missing(ROUTES, "x"), id="route"),
        pytest.param(routes("r", WEIGHTED), missing(ROUTES, "w"), id="weighted clusters"),
        pytest.param(
            routes("r", RouteAction(request_mirror_policies=[MIRROR])),
            missing(ROUTES, "m"),
            id="mirror of a route",
        ),
        pytest.param(
            routes("r", request_mirror_policies=[MIRROR]),
            missing(ROUTES, "m"),
            id="mirror of a virtual host",
        ),
        pytest.param(
            RouteConfiguration(name="r", request_mirror_policies=[MIRROR]),
            missing(ROUTES, "m"),
            id="mirror of all routes",
        ),
        pytest.param(
            listener(TcpProxy(cluster="t")), missing("the Listener 'l'", "t"), id="TCP proxy"
        ),
        pytest.param(
            listener(HttpConnectionManager(route_config=routes("", RouteAction(cluster="i")))),
            missing("the Listener 'l'", "i"),
            id="routes inside of a listener",
        ),
        pytest.param(
            xds.resource_from_message(
                VirtualHost(name="v", routes=[Route(route=RouteAction(cluster="x"))]), name="r/v"
            ),
            missing("the VirtualHost 'r/v'", "x"),
            id="virtual host",
        ),
        pytest.param(listener(rds("r")), NO_ROUTES, id="RDS"),
        pytest.param(
            Listener(name="l", default_filter_chain=chain(rds("r"))),
            NO_ROUTES,
            id="RDS of the default filter chain",
        ),
        pytest.param(eds("c", "s"), no_endpoints("c", "s"), id="EDS"),
        pytest.param(ClusterLoadAssignment(cluster_name="c"), no_cluster("c"), id="endpoints"),
    ],
)
def test_a_reference_to_what_is_not_there_is_told(resource: Any, expected: str) -> None:
    assert problems(resource) == [expected]


@pytest.mark.parametrize(
    "resources",
    [
        pytest.param([], id="nothing"),
        pytest.param(
            [Cluster(name="a"), routes("r", RouteAction(cluster="a")), listener(rds("r"))],
            id="cluster, routes and listener",
        ),
        pytest.param([eds("a"), ClusterLoadAssignment(cluster_name="a")], id="EDS"),
        pytest.param(
            [eds("a", "s"), ClusterLoadAssignment(cluster_name="s")], id="EDS by a service name"
        ),
        pytest.param([eds("a", source=FILE)], id="EDS from a file"),
        pytest.param([listener(rds("r", source=FILE))], id="RDS from a file"),
        pytest.param([routes("r", RouteAction(cluster_header="x-cluster"))], id="cluster_header"),
        pytest.param(
            [xds.resource_from_bytes(xds.EXTENSION, "e", bytes(Cluster(name="e")))],
            id="a type without references",
        ),
        pytest.param(
            [listener(TcpProxy(cluster="a", on_demand=TcpProxyOnDemand(odcds_config=ADS)))],
            id="TCP on demand",
        ),
    ],
)
def test_a_snapshot_without_such_a_reference_is_taken(resources: list[Any]) -> None:
    assert problems(*resources) == []


def test_a_message_that_cannot_be_read_refers_to_nothing() -> None:
    broken = xds.resource_from_bytes(xds.ROUTE, "r", b"\x0a\x01r\x12\x02\x1a\x09")

    assert problems(broken) == []


def test_clusters_of_the_bootstrap_may_be_referred_to() -> None:
    resources = [routes("r", RouteAction(cluster="local")), ClusterLoadAssignment(cluster_name="b")]

    assert problems(*resources, static_clusters=["local", "b"]) == []


@pytest.mark.parametrize(
    ("type_urls", "resource"),
    [
        ([xds.ENDPOINT], ClusterLoadAssignment(cluster_name="a")),
        ([xds.ROUTE], routes("r", RouteAction(cluster="a"))),
        ([xds.CLUSTER], eds("a")),
        ([xds.LISTENER], listener(rds("r"))),
    ],
    ids=["EDS", "RDS", "CDS", "LDS"],
)
def test_a_cache_misses_no_types_that_it_may_not_hold(type_urls: list[str], resource: Any) -> None:
    """The nodes have those from another server."""
    cache = xds.SnapshotCache(type_urls=type_urls)
    cache.set("edge-1", resource)

    assert cache.keys() == ("edge-1",)


def test_the_error_lists_all_problems_and_names_the_key() -> None:
    cache = xds.SnapshotCache()
    with pytest.raises(xds.InconsistentSnapshot) as caught:
        cache.set(
            "edge-1",
            eds("c"),
            ClusterLoadAssignment(cluster_name="d"),
            listener(rds("r")),
            routes("q", RouteAction(cluster="x")),
        )
    expected = [
        missing("the RouteConfiguration 'q'", "x"),
        NO_ROUTES,
        no_endpoints("c", "c"),
        no_cluster("d"),
    ]

    assert list(caught.value.problems) == expected
    assert caught.value.key == "edge-1"
    assert str(caught.value).split("\n- ") == [
        "the snapshot 'edge-1' is not consistent (check=False allows that):",
        *expected,
    ]


def test_an_inconsistent_snapshot_is_taken_unchecked_and_says_its_problems() -> None:
    cache = xds.SnapshotCache()
    cache.set("n", routes("r", RouteAction(cluster="x")), check=False)
    snapshot = cache.get("n")

    assert snapshot is not None
    assert snapshot.problems() == [missing(ROUTES, "x")]
    assert snapshot.problems(["x"]) == []
