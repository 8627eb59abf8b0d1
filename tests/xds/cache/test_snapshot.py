"""A cache of snapshots, as its clients see it: delta and state of the world."""

from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.core.v3 import Address
from envoy_data_plane.envoy.config.route.v3 import (
    Route,
    RouteAction,
    RouteConfiguration,
    VirtualHost,
)
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret

from scopeway import xds

pytestmark = pytest.mark.asyncio

BOTH = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


def names(client: xds.testing.Client, type_url: str = xds.CLUSTER) -> set[str]:
    return set(client.resources(type_url))


def routes_to(cluster: str) -> RouteConfiguration:
    route = Route(route=RouteAction(cluster=cluster))
    return RouteConfiguration(name="r", virtual_hosts=[VirtualHost(name="v", routes=[route])])


@BOTH
async def test_each_node_sees_the_snapshot_of_its_id(sotw: bool) -> None:
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="a"), Cluster(name="b"))
    cache.set("edge-2", Cluster(name="c"))
    async with (
        xds.testing.Client(cache, node_id="edge-1", sotw=sotw) as one,
        xds.testing.Client(cache, node_id="edge-2", sotw=sotw) as two,
    ):
        await one.subscribe(xds.CLUSTER)
        await two.subscribe(xds.CLUSTER)
        assert (names(one), names(two)) == ({"a", "b"}, {"c"})

        cache.set("edge-1", Cluster(name="a"), Cluster(name="new"))
        await one.update()
        assert await two.update() == []

    assert (names(one), names(two)) == ({"a", "new"}, {"c"})


@BOTH
async def test_nodes_of_one_group_share_a_snapshot(sotw: bool) -> None:
    cache = xds.SnapshotCache(group=lambda node: node.cluster)
    cache.set("edges", Cluster(name="a"))
    async with xds.testing.Client(cache, node_id="1", cluster="edges", sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER)

    assert names(client) == {"a"}


@BOTH
async def test_a_node_without_a_snapshot_waits_for_it(sotw: bool) -> None:
    """It is told nothing: an empty answer would let an Envoy start without its clusters."""
    cache = xds.SnapshotCache()
    async with xds.testing.Client(cache, node_id="edge-1", sotw=sotw) as client:
        assert await client.subscribe(xds.CLUSTER) == []
        assert await client.subscribe(xds.SECRET, "s", "gone") == []
        assert client.events == []
        cache.set("edge-1", Cluster(name="a"), Secret(name="s"))
        received = await client.update()

    assert [(each.type_url, set(each.resources)) for each in received] == [
        (xds.CLUSTER, {"a"}),
        (xds.SECRET, {"s"}),
    ]
    assert received[1].removed == (() if sotw else ("gone",))


@BOTH
async def test_an_empty_snapshot_is_an_answer(sotw: bool) -> None:
    cache = xds.SnapshotCache()
    async with xds.testing.Client(cache, node_id="edge-1", sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER)
        cache.set("edge-1")
        (received,) = await client.update()

    assert (received.type_url, received.resources) == (xds.CLUSTER, {})


@BOTH
async def test_nodes_keep_what_they_have_when_their_snapshot_is_cleared(sotw: bool) -> None:
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="a"))
    async with xds.testing.Client(cache, node_id="edge-1", sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER)
        cache.clear("edge-1")
        cache.clear("edge-1")
        assert (await client.update(), cache.get("edge-1"), cache.keys()) == ([], None, ())
        assert await client.subscribe(xds.CLUSTER) == []
        cache.set("edge-1", Cluster(name="b"))
        await client.update()

    assert names(client) == {"b"}


async def test_a_delta_client_that_comes_back_keeps_what_it_has_until_there_is_a_snapshot() -> None:
    cache = xds.SnapshotCache()
    session = xds.DeltaSession(cache)
    node = xds.Node(id="edge-1", cluster="")
    request = xds.DeltaRequest(
        type_url=xds.CLUSTER, node=node, initial_versions={"a": "1", "b": "1"}
    )
    session.receive(request, 0.0)
    cache.notifier.join(session, session.group, lambda: None)
    assert session.responses_to_send(0.0) == []
    cache.set("edge-1", Cluster(name="a"))
    sent = session.responses_to_send(0.0)
    (response,) = sent
    session.receive(xds.DeltaRequest(type_url=xds.CLUSTER, response_nonce=response.nonce), 0.0)
    removals = session.responses_to_send(0.0)

    assert [(each.resources, each.removed) for each in (*sent, *removals)] == [(1, 0), (0, 1)]
    session.close()


@BOTH
async def test_what_is_equal_is_not_sent_again(sotw: bool) -> None:
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="a"), Secret(name="s"))
    async with xds.testing.Client(cache, node_id="edge-1", sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER)
        await client.subscribe(xds.SECRET, "s")
        cache.set("edge-1", Secret(name="s"), Cluster(name="a"))

        assert await client.update() == []


async def test_a_cluster_goes_after_the_routes_that_have_left_it() -> None:
    """Make before break: the new cluster, the routes, and when these are taken, the removal."""
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="old"), routes_to("old"))
    async with xds.testing.Client(cache, node_id="edge-1") as client:
        await client.subscribe(xds.CLUSTER)
        await client.subscribe(xds.ROUTE, "r")
        cache.set("edge-1", Cluster(name="new"), routes_to("new"))
        received = await client.update()

    assert [(each.type_url, set(each.resources), each.removed) for each in received] == [
        (xds.CLUSTER, {"new"}, ()),
        (xds.ROUTE, {"r"}, ()),
        (xds.CLUSTER, set(), ("old",)),
    ]


@BOTH
async def test_a_type_of_your_own_is_served_when_it_is_named(sotw: bool) -> None:
    own = "example.com/own.Type"
    cache = xds.SnapshotCache(type_urls=[*xds.SEND_ORDER, own])
    cache.set("edge-1", xds.resource_from_bytes(own, "o", b"\x0a\x01o"))
    async with xds.testing.Client(cache, node_id="edge-1", sotw=sotw) as client:
        await client.subscribe(own, "o")

    assert names(client, own) == {"o"}


async def test_a_snapshot_tells_what_it_holds() -> None:
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="a"))
    snapshot = cache.get("edge-1")

    assert snapshot is not None
    assert list(snapshot.type_urls()) == [xds.CLUSTER]
    assert list(snapshot.resources(xds.CLUSTER)) == ["a"]
    assert snapshot.resources(xds.LISTENER) == {}
    assert cache.keys() == ("edge-1",)


@pytest.mark.parametrize(
    ("resources", "error", "message"),
    [
        (
            ([Cluster(name="a")],),
            TypeError,
            "resource 1 of the snapshot 'edge-1' is a list: pass its members one by one, set(key, "
            "*resources)",
        ),
        (
            (Cluster(name="a"), {"name": "b"}),
            TypeError,
            "resource 2 of the snapshot 'edge-1': a dict is no resource: pass a message of "
            "Google's protobuf or of betterproto2, or what resource_from_bytes(type_url, name, "
            "body) returns",
        ),
        (
            (Cluster(name="a"), Cluster(name="b"), Cluster(name="a")),
            ValueError,
            "resource 3 of the snapshot 'edge-1': there are two of Cluster 'a'",
        ),
        (
            (Cluster(),),
            ValueError,
            "resource 1 of the snapshot 'edge-1': a Cluster without a name: set the message's name",
        ),
        (
            (Address(),),
            ValueError,
            "resource 1 of the snapshot 'edge-1': the name of Address resources is not in their "
            "messages: pass name=...",
        ),
        (
            (xds.resource_from_bytes("example.com/own.Type", "o", b""),),
            ValueError,
            "resource 1 of the snapshot 'edge-1': Type is no type of this cache: pass "
            "type_urls=[*SEND_ORDER, 'example.com/own.Type'] to SnapshotCache",
        ),
    ],
    ids=["list", "dict", "twice", "unnamed", "no resource", "unknown type"],
)
async def test_a_mistake_in_a_snapshot_names_its_place_and_changes_nothing(
    resources: tuple[Any, ...], error: type[Exception], message: str
) -> None:
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="before"))
    before = cache.get("edge-1")
    with pytest.raises(error) as caught:
        cache.set("edge-1", *resources)

    assert str(caught.value) == message
    assert cache.get("edge-1") is before


async def test_a_key_that_is_no_string_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        xds.SnapshotCache().set(Cluster(name="a"), Cluster(name="b"))  # type: ignore[arg-type]

    assert str(caught.value) == "the key of a snapshot must be a string, not a Cluster"


async def test_a_string_for_a_list_of_types_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        xds.SnapshotCache(type_urls="example.com/own.Type")

    assert str(caught.value) == (
        "type_urls must be a collection of names, not the string 'example.com/own.Type': pass "
        "['example.com/own.Type']"
    )


async def test_a_group_function_that_returns_no_string_is_an_error_of_its_stream() -> None:
    cache = xds.SnapshotCache(group=lambda node: node.metadata.get("kind"))  # type: ignore[arg-type, return-value]
    async with xds.testing.Client(cache, node_id="edge-1") as client:
        with pytest.raises(TypeError) as caught:
            await client.subscribe(xds.CLUSTER)

    assert str(caught.value) == (
        "the group function of the SnapshotCache returned None for the node 'edge-1': it must "
        "return a string"
    )


async def test_types_may_come_from_a_generator() -> None:
    assert xds.SnapshotCache(type_urls=iter([xds.CLUSTER])).type_urls() == (xds.CLUSTER,)  # type: ignore[arg-type]


async def test_a_group_that_is_no_function_is_refused() -> None:
    with pytest.raises(TypeError, match=r"^group must be a function of a Node, not a str$"):
        xds.SnapshotCache(group="edge")  # type: ignore[arg-type]
