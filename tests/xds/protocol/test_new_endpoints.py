"""Routes to a new cluster wait until the client has been sent the endpoints of the cluster."""

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
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration, VirtualHost

from scopeway import xds
from scopeway.xds.encoding.messages import ErrorDetail
from scopeway.xds.protocol.session import ENDPOINTS_WAIT

ADS = ConfigSource(ads=AggregatedConfigSource())


def cluster(name: str, source: ConfigSource = ADS) -> Cluster:
    return Cluster(
        name=name,
        type=ClusterDiscoveryType.EDS,
        eds_cluster_config=ClusterEdsClusterConfig(eds_config=source),
    )


def routes(version: str) -> RouteConfiguration:
    return RouteConfiguration(name="r", virtual_hosts=[VirtualHost(name=version)])


class Stream:
    """A client that has the clusters, the endpoints of `a`, and the routes."""

    def __init__(self, sotw: bool) -> None:
        self.cache = xds.ResourceCache()
        self.sotw = sotw
        self.session: Any = (xds.SotwSession if sotw else xds.DeltaSession)(self.cache)
        self.now = 0.0
        self.nonces: dict[str, str] = {}
        self.cache.set(cluster("a"), ClusterLoadAssignment(cluster_name="a"), routes("1"))
        self.ask(xds.CLUSTER)
        self.ask(xds.ENDPOINT, "a")
        self.ask(xds.ROUTE, "r")
        for type_url in (xds.CLUSTER, xds.ENDPOINT):
            self.answer(type_url, "a")
        self.answer(xds.ROUTE, "r")

    def ask(self, type_url: str, *names: str) -> list[str]:
        node = xds.Node(id="n", cluster="")
        nonce = self.nonces.get(type_url, "")
        request: Any = (
            xds.SotwRequest(type_url=type_url, names=names, names_empty=not names, node=node)
            if self.sotw and not nonce
            else xds.SotwRequest(
                type_url=type_url, names=names, names_empty=not names, response_nonce=nonce
            )
            if self.sotw
            else xds.DeltaRequest(
                type_url=type_url, subscribe=names, names_empty=not names, node=node
            )
        )
        self.session.receive(request, self.now)
        return self.sent()

    def answer(self, type_url: str, *names: str, error: ErrorDetail | None = None) -> list[str]:
        """ACK or NACK the last response; `names` are those of a state of the world."""
        wildcard = type_url == xds.CLUSTER
        request: Any = (
            xds.SotwRequest(
                type_url=type_url,
                names=() if wildcard else names,
                names_empty=wildcard,
                response_nonce=self.nonces[type_url],
                error=error,
            )
            if self.sotw
            else xds.DeltaRequest(
                type_url=type_url, response_nonce=self.nonces[type_url], error=error
            )
        )
        self.session.receive(request, self.now)
        return self.sent()

    def apply(self, *messages: Any) -> list[str]:
        self.cache.set(*messages)
        for type_url in (xds.CLUSTER, xds.ENDPOINT, xds.ROUTE):
            self.session.wildcard_changed(type_url)
            self.session.resources_changed(type_url, list(self.cache.names(type_url)))
        return self.sent()

    def sent(self) -> list[str]:
        responses = self.session.responses_to_send(self.now)
        self.nonces |= {each.type_url: each.nonce for each in responses}
        return [each.type_url for each in responses]


pytestmark = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


def test_routes_wait_until_the_client_has_requested_the_endpoints(sotw: bool) -> None:
    stream = Stream(sotw)

    sent = stream.apply(cluster("b"), ClusterLoadAssignment(cluster_name="b"), routes("2"))

    assert xds.CLUSTER in sent
    assert xds.ROUTE not in sent
    assert stream.answer(xds.CLUSTER) == []
    if xds.ENDPOINT in sent:  # those of `a`, which a state of clusters goes with
        assert stream.answer(xds.ENDPOINT, "a") == []
    assert stream.ask(xds.ENDPOINT, "a", "b") == [xds.ENDPOINT, xds.ROUTE]
    assert stream.session.next_deadline() is None


def test_routes_do_not_wait_for_ever(sotw: bool) -> None:
    stream = Stream(sotw)
    stream.apply(cluster("b"), routes("2"))

    assert stream.session.next_deadline() == ENDPOINTS_WAIT
    stream.now = ENDPOINTS_WAIT / 2
    stream.answer(xds.CLUSTER)
    assert stream.apply(cluster("c")) == [xds.CLUSTER]
    assert stream.session.next_deadline() == ENDPOINTS_WAIT
    stream.now = ENDPOINTS_WAIT

    assert stream.sent() == [xds.ROUTE]
    assert stream.session.next_deadline() is None


def test_routes_do_not_wait_for_the_endpoints_of_a_rejected_cluster(sotw: bool) -> None:
    stream = Stream(sotw)
    stream.apply(cluster("b"), routes("2"))

    sent = stream.answer(xds.CLUSTER, error=ErrorDetail(code=13, message="no"))

    assert xds.ROUTE in sent


def test_routes_do_not_wait_for_endpoints_from_elsewhere(sotw: bool) -> None:
    stream = Stream(sotw)
    file = ConfigSource(path_config_source=PathConfigSource(path="/endpoints.yaml"))

    assert xds.ROUTE in stream.apply(cluster("b", file), routes("2"))
