"""The Lua text that Envoy gets."""

from typing import Any

import pytest
from lupa.luajit21 import LuaRuntime

from scopeway.lua_filters import ENTRIES, bundle

CONSTANTS = {
    "site": "cloud-1",
    "services": {"image": "image", "glance": "image", "identity": "identity"},
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_equal_arguments_give_equal_lua(entry: str) -> None:
    reordered = {**CONSTANTS, "services": dict(reversed(CONSTANTS["services"].items()))}

    assert bundle(entry, CONSTANTS) == bundle(entry, reordered)


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_bundle_defines_only_its_hooks_as_globals(entry: str) -> None:
    lua = LuaRuntime()
    before = set(lua.globals())
    lua.execute(bundle(entry, CONSTANTS))

    made = set(lua.globals()) - before
    assert made <= {"envoy_on_request", "envoy_on_response"}
    assert ("envoy_on_request" in made) is (entry != "links")
    assert ("envoy_on_response" in made) == (entry in ("answers", "links", "upgrades"))


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_bundle_contains_no_comments(entry: str) -> None:
    assert "--" not in bundle(entry, CONSTANTS)


@pytest.mark.parametrize("site", ['"]] --x', "\\", "a\nb\r\0c", "ä€", "%s%d", "}", "0"])
def test_any_text_can_be_a_constant_of_a_bundle(site: str) -> None:
    lua = LuaRuntime()
    text = bundle("peer", {**CONSTANTS, "site": site})
    lua.execute(
        "local modules"
        + text.split("local modules", 1)[1].split("\n", 1)[0]
        + " found = modules.constants.site"
    )

    assert lua.globals().found == site


@pytest.mark.parametrize("value", [1.5, [], object(), b""])
def test_unsupported_constants_of_a_bundle_are_refused(value: Any) -> None:
    with pytest.raises(TypeError, match="no Lua constant"):
        bundle("peer", {**CONSTANTS, "other": value})


@pytest.mark.parametrize("service", ["glance", "nope"])
def test_the_service_of_a_bundle_must_be_an_official_type(service: str) -> None:
    with pytest.raises(ValueError, match=service):
        bundle("front", {**CONSTANTS, "service": service})


def test_the_services_of_a_bundle_must_be_a_mapping() -> None:
    with pytest.raises(TypeError, match="no mapping"):
        bundle("front", {"site": "cloud-1", "services": ["image"]})


@pytest.mark.parametrize(
    "http",
    [
        {"identity": {}},
        {"image": {"Authorization": True}},
        {"image": {"a b": True}},
        {"image": {":path": True}},
        {"image": {"": True}},
        {"image": {"authorization": False}},
        {"image": {"authorization": "true"}},
    ],
)
def test_identity_and_what_is_no_header_are_refused_for_the_protocol_http(http: Any) -> None:
    with pytest.raises(ValueError, match=r"identity has no|no header to forward"):
        bundle("front", {**CONSTANTS, "http": http})


@pytest.mark.parametrize("http", [["image"], "image", {"image": ["authorization"]}, {"image": 1}])
def test_the_types_and_headers_for_the_protocol_http_must_be_mappings(http: Any) -> None:
    with pytest.raises(TypeError, match="no mapping"):
        bundle("front", {**CONSTANTS, "http": http})


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_bundle_has_the_headers_that_a_service_type_forwards(entry: str) -> None:
    lua = LuaRuntime()
    text = bundle(entry, {**CONSTANTS, "http": {"image": {"x-api-key": True}}})
    lua.execute(text.split("\n", 1)[0] + " found = modules.constants.http.image['x-api-key']")

    assert lua.globals().found is True


def test_an_unknown_entry_of_a_bundle_is_refused() -> None:
    with pytest.raises(KeyError):
        bundle("nope", CONSTANTS)
