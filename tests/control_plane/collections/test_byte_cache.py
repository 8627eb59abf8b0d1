"""Caches of data from outside are bounded in bytes."""

import weakref

import pytest

from scopeway.control_plane.clouds import manifest
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.node_auth import MAX_PATH, admit
from scopeway.control_plane.serving.site_cache import SiteCache, SiteResources
from scopeway.control_plane.translator import secrets
from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.control_plane.translator.secrets import identity_secrets
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import Node
from scopeway.xds.steps import finish
from scopeway.xds.type_urls import EXTENSION, LISTENER

FIELDS = [
    "scopeway.access_log",
    *(f"scopeway.identity.{each}" for each in ("certificate", "key", "authorities")),
]


def sized(most: int) -> ByteBoundedCache[str, str]:
    return ByteBoundedCache(most, lambda key, value: len(key) + len(value))


def test_the_cache_evicts_the_least_recently_used_entry() -> None:
    cache = sized(9)
    cache.put("a", "11")
    cache.put("b", "22")
    cache.put("c", "33")
    assert cache.get("a") == "11"
    cache.put("d", "44")

    assert cache.get("b") is None
    assert [cache.get(key) for key in "acd"] == ["11", "33", "44"]
    assert cache.bytes == 9


def test_the_cache_keeps_one_value_above_its_limit() -> None:
    cache = sized(9)
    cache.put("a", "11")
    cache.put("b", "2" * 20)
    assert ("a" in cache, "b" in cache, cache.bytes) == (False, True, 21)

    cache.put("c", "3")
    assert (len(cache), cache.bytes) == (1, 2)


def test_the_cache_counts_a_replaced_value_once() -> None:
    cache = sized(9)
    cache.put("a", "11")
    cache.put("a", "1")

    assert (cache.bytes, cache.pop("a"), cache.pop("a"), cache.bytes) == (2, "1", None, 0)


def named(field: str, path: str) -> Node:
    metadata = {"scopeway.protocol": "1", **dict.fromkeys(FIELDS, "/a"), field: path}
    return Node(id="cloud-1/a", cluster="cloud-1", metadata=metadata)


def admitted(node: Node) -> None:
    admit(node, trust_domain="edge.example", state=None, limits=SourceLimits())


@pytest.mark.parametrize("field", FIELDS)
def test_a_path_in_node_metadata_is_limited_to_the_length_of_a_path(field: str) -> None:
    longest = "/" + "a" * (MAX_PATH - 1)
    admitted(named(field, longest))
    admitted(named(field, "/" + "ä" * 2047))

    for path in (longest + "a", "/" + "ä" * 2048):
        with pytest.raises(ProtocolError) as refused:
            admitted(named(field, path))
        assert refused.value.status == "INVALID_ARGUMENT"
        size = len(path.encode())
        assert str(refused.value) == (
            f"node 'cloud-1/a' has a path of {size} bytes in its metadata, at {field}; "
            "a path has at most 4096"
        )


@pytest.mark.parametrize("field", FIELDS)
def test_a_refusal_of_a_node_repeats_a_bounded_part_of_its_text(field: str) -> None:
    for node in (
        Node(id="x" * 5000, cluster="c", metadata=named(field, "/" + "a" * 5000).metadata),
        Node(id="x" * 5000, cluster="c", metadata={"scopeway.protocol": "y" * 5000}),
        Node(id="x" * 5000, cluster="", metadata={"scopeway.protocol": "1"}),
        Node(id="x" * 5000, cluster="c", metadata={"scopeway.protocol": "1"}),
    ):
        with pytest.raises(ProtocolError) as refused:
            admitted(node)
        assert len(str(refused.value)) < 500


def test_files_that_differ_on_each_stream_use_bounded_memory() -> None:
    before = secrets._known_secrets.cache_info().currsize
    long = ["/" + "a" * 4000 + str(number) for number in range(100)]
    made = [
        identity_secrets(SiteIdentity(certificate=path, key="/k", authorities="/a"))
        for path in long
    ]

    assert len({each["identity"] for each in made}) == 100
    assert secrets._known_secrets.cache_info().currsize == before
    short = SiteIdentity(certificate="/c", key="/k", authorities="/a")
    assert identity_secrets(short) is identity_secrets(short)


def test_long_labels_and_lists_are_not_cached() -> None:
    def parse(count: int) -> None:
        labels = {f"long-label-{number}": "long-value" for number in range(count)}
        entry = f"[{','.join(f'{key}={value}' for key, value in labels.items())}]"
        parse_manifest(
            {
                "apiVersion": "scopeway.io/v1alpha1",
                "kind": "EdgeCloud",
                "metadata": {"name": "x", "labels": labels},
                "spec": {"accept": [{"clouds": [entry]}]},
            },
            "a.yaml",
        )

    caches = manifest._known_labels, manifest._known_pattern
    parse(3)
    before = [cache.cache_info().currsize for cache in caches]
    parse(40)

    assert [cache.cache_info().currsize for cache in caches] == before


def test_resources_that_the_envoys_of_a_site_share_are_kept_once_while_they_are_made() -> None:
    """Many streams of a large site, whose Envoys have other logs, may come at once."""

    def make(cloud: str, access_log: str) -> SiteResources:
        yield LISTENER, "front", access_log.encode()
        yield EXTENSION, "lua/front", f"lua of {cloud}".encode()

    cache = SiteCache(make)
    under_way = [
        cache.make((cloud, log)) for cloud in ("cloud-1", "cloud-2") for log in ("/a", "/b")
    ]
    made = [finish(steps) for steps in under_way]

    scripts = [each[EXTENSION]["lua/front"] for each in made]
    assert scripts[0] is scripts[1] is not scripts[2] is scripts[3]
    assert made[0][LISTENER]["front"] is not made[1][LISTENER]["front"]
    gone = weakref.ref(scripts[0])
    made.clear()
    scripts.clear()
    under_way.clear()
    assert gone() is None


def test_large_sites_that_do_not_ask_for_all_resources_evict_each_other() -> None:
    body = b"x" * (16 << 20)
    made = []

    def make(cloud: str, access_log: str) -> SiteResources:
        made.append(access_log)
        yield LISTENER, "front", body
        yield EXTENSION, "lua/front", b"lua"

    cache = SiteCache(make)
    for number in range(20):
        cache.add(("cloud-1", f"/{number}"))

    assert (cache._fresh.bytes + cache._made.bytes) < (64 + 17) << 20
    found = cache.resource(("cloud-1", "/0"), EXTENSION, "lua/front")
    assert found is not None
    assert found.body == b"lua"
