"""The client for tests of a source: what it says, holds and returns."""

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from scopeway import xds

pytestmark = pytest.mark.asyncio

BOTH = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


def bad_is_rejected(response: xds.testing.Received) -> str | None:
    return "no bad ones" if "bad" in response.resources else None


@BOTH
async def test_it_returns_the_responses_and_holds_what_they_brought(sotw: bool) -> None:
    cache = xds.ResourceCache()
    cache.set(Cluster(name="a"))
    async with xds.testing.Client(cache, sotw=sotw) as client:
        (received,) = await client.subscribe(xds.CLUSTER, "a")

    assert received.type_url == xds.CLUSTER
    assert received.resources == {"a": bytes(Cluster(name="a"))}
    assert client.resources(xds.CLUSTER) == received.resources
    assert client.received == [received]
    assert [type(each) for each in client.events] == [xds.Acked]


@BOTH
async def test_what_it_rejects_it_does_not_hold(sotw: bool) -> None:
    cache = xds.ResourceCache()
    cache.set(Secret(name="good"), Secret(name="bad"))
    async with xds.testing.Client(cache, sotw=sotw, reject=bad_is_rejected) as client:
        await client.subscribe(xds.SECRET, "good", "bad")
    nacks = [each for each in client.events if isinstance(each, xds.Nacked)]

    assert set(client.resources(xds.SECRET)) == {"good"}
    assert nacks[-1].names == ("bad",)
    assert nacks[-1].message == "no bad ones"


@BOTH
async def test_what_it_wants_no_more_it_does_not_hold(sotw: bool) -> None:
    cache = xds.ResourceCache()
    cache.set(Cluster(name="a"), Cluster(name="b"))
    async with xds.testing.Client(cache, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a", "b")
        await client.unsubscribe(xds.CLUSTER, "a")
        cache.set(Cluster(name="a", alt_stat_name="changed"))
        await client.update()

    assert set(client.resources(xds.CLUSTER)) == {"b"}


async def test_it_leaves_the_wildcard_and_keeps_what_it_named() -> None:
    cache = xds.ResourceCache()
    cache.set(Cluster(name="a"), Cluster(name="b"))
    async with xds.testing.Client(cache) as client:
        await client.subscribe(xds.CLUSTER)
        await client.subscribe(xds.CLUSTER, "a")
        await client.unsubscribe(xds.CLUSTER)
        cache.set(Cluster(name="c"))
        await client.update()

    assert set(client.resources(xds.CLUSTER)) == {"a"}


@BOTH
async def test_a_resource_with_a_ttl_is_held(sotw: bool) -> None:
    cache = xds.ResourceCache()
    cache.set(xds.resource_from_message(Cluster(name="a"), ttl=5))
    async with xds.testing.Client(cache, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a")

    assert client.resources(xds.CLUSTER) == {"a": bytes(Cluster(name="a"))}


async def test_the_source_is_told_what_the_test_says_of_the_node() -> None:
    nodes: list[xds.Node] = []

    def group(node: xds.Node) -> str:
        nodes.append(node)
        return "all"

    async with xds.testing.Client(
        xds.SnapshotCache(group=group),
        node_id="edge-1",
        cluster="edges",
        metadata={"kind": "edge"},
        locality=xds.Locality(zone="b"),
        identities=("spiffe://td/edge",),
    ) as client:
        await client.subscribe(xds.CLUSTER)
    (node,) = nodes

    assert (node.id, node.cluster, node.metadata) == ("edge-1", "edges", {"kind": "edge"})
    assert (node.locality.zone, node.identities) == ("b", ("spiffe://td/edge",))


async def test_a_node_that_the_source_refuses_is_an_error() -> None:
    def refuse(node: xds.Node) -> str:
        raise xds.ProtocolError("not you", status="PERMISSION_DENIED")

    async with xds.testing.Client(xds.SnapshotCache(group=refuse)) as client:
        with pytest.raises(xds.ProtocolError, match="not you") as caught:
            await client.subscribe(xds.CLUSTER)

    assert caught.value.status == "PERMISSION_DENIED"


async def test_it_leaves_the_notifier() -> None:
    cache = xds.ResourceCache()
    async with xds.testing.Client(cache) as client:
        await client.subscribe(xds.CLUSTER, "a")
        assert len(cache.notifier) == 1

    assert len(cache.notifier) == 0


async def test_names_that_are_a_list_are_refused() -> None:
    async with xds.testing.Client(xds.ResourceCache()) as client:
        with pytest.raises(TypeError) as caught:
            await client.subscribe(xds.CLUSTER, ["a"])  # type: ignore[arg-type]

    assert str(caught.value) == "pass names one by one, not ['a']"
