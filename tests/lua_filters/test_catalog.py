"""Catalogs of other clouds are rewritten to the front of the client."""

import json
from typing import Any

import pytest

URL = "http://10.0.0.1:8080"
PORTS = {"image": "http://10.0.0.1:9292"}


@pytest.fixture(scope="module")
def rewritten(new_modules: Any) -> Any:
    modules = new_modules(front={"url": URL, "ports": PORTS})

    def rewritten(catalog: Any) -> Any:
        node = modules["json"].decode(json.dumps(catalog))
        made = modules["catalog"].rewritten(node)
        return None if made is None else json.loads(modules["json"].encode(made))

    return rewritten


def service(kind: Any, *urls: Any) -> dict[str, Any]:
    return {"type": kind, "endpoints": [{"interface": "public", "url": url} for url in urls]}


@pytest.mark.parametrize(
    ("kind", "url", "here"),
    [
        ("identity", "http://a:8080/identity", f"{URL}/identity"),
        ("identity", "https://a/identity/v3/", f"{URL}/identity/v3/"),
        ("identity", "http://a:5000/v3", f"{URL}/identity/v3"),
        ("image", "http://a:8080/image", "http://10.0.0.1:9292"),
        ("image", "http://a:9292", "http://10.0.0.1:9292"),
        ("image", "http://a:9292/", "http://10.0.0.1:9292"),
        ("compute", "http://a/compute/v2.1", f"{URL}/compute/v2.1"),
        ("volumev3", "http://[::1]:8776/v3/abc", f"{URL}/block-storage/v3/abc"),
        ("block-storage", "http://a/volume/v3/abc", f"{URL}/block-storage/v3/abc"),
        ("object-store", "http://a/swift/v1/AUTH_abc", f"{URL}/object-store/v1/AUTH_abc"),
        ("placement", "http://a/~{nova:b}/placement", f"{URL}/placement"),
    ],
)
def test_an_endpoint_keeps_its_path_after_the_version(
    rewritten: Any, kind: str, url: str, here: str
) -> None:
    assert rewritten([service(kind, url)]) == [service(kind, here)]


def test_a_rewritten_catalog_keeps_names_interfaces_and_regions(rewritten: Any) -> None:
    endpoint = {"id": "e", "interface": "admin", "region": "R", "region_id": "S"}
    entry = {"id": "s", "type": "network", "name": "neutron"}
    catalog = [{**entry, "endpoints": [{**endpoint, "url": "http://a", "x": 1}], "x": 1}]

    assert rewritten(catalog) == [
        {**entry, "endpoints": [{**endpoint, "url": f"{URL}/network"}]},
    ]


@pytest.mark.parametrize(
    "entry",
    [
        *(service("rootkit", "http://a"), service("Image", "http://a"), service(None, "http://a")),
        *(service("image"), service("image", None), service("image", 1), service("image", "")),
        *(service("image", "ftp://a"), service("image", "/v2"), service("image", "http:///v2")),
        *(service("image", "http://a/v2/../x"), service("image", "http://a/v2/%2e%2e/x")),
        *(service("image", "http://a/v2?x"), service("image", "http://a/v2#x")),
        *(service("image", "http://a/v2/\u00e9"), service("image", "http://a/v2\n/x")),
        *({}, {"type": "image"}, {"type": "image", "endpoints": {}}, None, "image", 1, []),
        {"type": "image", "endpoints": [None, "x", [], {}]},
    ],
)
def test_unknown_entries_of_a_catalog_are_left_out(rewritten: Any, entry: Any) -> None:
    good = service("compute", "http://a")

    assert rewritten([entry, good]) == [service("compute", f"{URL}/compute")]


@pytest.mark.parametrize(
    ("named", "found"),
    [
        ({"region": "A", "region_id": "A"}, ["A", "Here"]),
        ({"region": None, "region_id": None}, [None, "Here"]),
        ({}, [None, "Here"]),
        ({"region": "Here", "region_id": "Here"}, ["Here"]),
        ({"region": "Here", "region_id": None}, ["Here"]),
        ({"region": "Here", "region_id": "A"}, ["A", "Here"]),
    ],
)
def test_the_catalog_endpoint_of_the_front_has_its_region(
    new_modules: Any, named: dict[str, Any], found: list[str | None]
) -> None:
    modules = new_modules(front={"url": URL, "ports": PORTS, "region": "Here"})
    entry = {"type": "image", "endpoints": [{"id": "e", "url": "http://a/v2", **named}]}
    node = modules["json"].decode(json.dumps([entry]))
    (made,) = json.loads(modules["json"].encode(modules["catalog"].rewritten(node)))

    assert [each.get("region_id") or each.get("region") for each in made["endpoints"]] == found
    assert {each["url"] for each in made["endpoints"]} == {f"{PORTS['image']}/v2"}


@pytest.mark.parametrize("catalog", [{}, None, "x", 1, True])
def test_a_value_that_is_no_catalog_is_not_rewritten(rewritten: Any, catalog: Any) -> None:
    assert rewritten(catalog) is None


def test_a_catalog_without_a_front_is_rewritten_to_an_empty_one(new_modules: Any) -> None:
    modules = new_modules()
    node = modules["json"].decode(json.dumps([service("image", "http://a")]))

    assert modules["json"].encode(modules["catalog"].rewritten(node)) == "[]"
