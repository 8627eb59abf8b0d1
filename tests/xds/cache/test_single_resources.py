"""A cache of single resources, as its clients see it."""

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment

from scopeway import xds

pytestmark = pytest.mark.asyncio

BOTH = pytest.mark.parametrize("sotw", [False, True], ids=["delta", "sotw"])


@BOTH
async def test_what_is_asked_for_by_name_comes_changes_and_goes(sotw: bool) -> None:
    cache = xds.ResourceCache()
    async with xds.testing.Client(cache, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a")
        assert client.resources(xds.CLUSTER) == {}
        for message in (Cluster(name="a"), Cluster(name="a", alt_stat_name="b")):
            cache.set(message, Cluster(name="other"))
            await client.update()
            assert client.resources(xds.CLUSTER) == {"a": bytes(message)}
        cache.delete(xds.CLUSTER, "a")
        await client.update()

    assert client.resources(xds.CLUSTER) == {}


@BOTH
async def test_a_wildcard_means_all_of_the_type(sotw: bool) -> None:
    cache = xds.ResourceCache()
    cache.set(Cluster(name="a"), ClusterLoadAssignment(cluster_name="e"))
    async with xds.testing.Client(cache, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER)
        assert set(client.resources(xds.CLUSTER)) == {"a"}
        cache.set(Cluster(name="b"))
        await client.update()
        assert set(client.resources(xds.CLUSTER)) == {"a", "b"}
        cache.delete(xds.CLUSTER, "a", "never there")
        await client.update()

    assert set(client.resources(xds.CLUSTER)) == {"b"}


async def test_a_name_that_is_not_there_is_told_at_once() -> None:
    async with xds.testing.Client(xds.ResourceCache()) as client:
        (received,) = await client.subscribe(xds.CLUSTER, "a")

    assert received.removed == ("a",)


@BOTH
async def test_what_is_equal_is_not_sent_again(sotw: bool) -> None:
    cache = xds.ResourceCache()
    cache.set(Cluster(name="a"))
    async with xds.testing.Client(cache, sotw=sotw) as client:
        await client.subscribe(xds.CLUSTER, "a")
        cache.set(Cluster(name="a"))

        assert await client.update() == []


async def test_it_tells_what_it_holds() -> None:
    cache = xds.ResourceCache()
    cache.set(Cluster(name="a"))

    assert cache.names(xds.CLUSTER) == ("a",)
    assert cache.get(xds.CLUSTER, "a") == xds.resource_from_message(Cluster(name="a"))
    assert cache.get(xds.CLUSTER, "b") is None


async def test_of_several_resources_with_a_mistake_none_is_taken() -> None:
    cache = xds.ResourceCache()
    with pytest.raises(ValueError, match="a Cluster without a name"):
        cache.set(Cluster(name="a"), Cluster())

    assert cache.names(xds.CLUSTER) == ()


async def test_a_type_that_is_none_of_the_cache_is_refused() -> None:
    cache = xds.ResourceCache()
    for use in (
        lambda: cache.set(xds.resource_from_bytes("example.com/own.Type", "o", b"")),
        lambda: cache.delete("example.com/own.Type", "o"),
        lambda: cache.get("example.com/own.Type", "o"),
        lambda: cache.names("example.com/own.Type"),
    ):
        with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole message is compared
            use()
        assert str(caught.value) == (
            "Type is no type of this cache: pass type_urls=[*SEND_ORDER, 'example.com/own.Type'] "
            "to ResourceCache"
        )


async def test_a_list_of_names_to_delete_is_refused() -> None:
    with pytest.raises(TypeError) as caught:
        xds.ResourceCache().delete(xds.CLUSTER, ["a"])  # type: ignore[arg-type]

    assert str(caught.value) == "the name of a Cluster must be a string, not a list"


async def test_types_may_come_from_a_generator() -> None:
    cache = xds.ResourceCache(type_urls=iter([xds.CLUSTER]))  # type: ignore[arg-type]

    assert list(cache.type_urls()) == [xds.CLUSTER]
