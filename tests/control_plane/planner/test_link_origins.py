"""The origins that a service may use in its links."""

from typing import Any

from harness.fleet import manifest
from scopeway.control_plane.planner.link_origins import link_origins


def found(service: dict[str, Any], front: dict[str, Any] | None = None) -> tuple[str, ...]:
    spec: dict[str, Any] = {"services": {"image": service}}
    if front is not None:
        spec["front"] = {"address": "10.0.0.1", "port": 8080, **front}
    return link_origins(manifest("cloud-1", **spec), "image")


def at(*addresses: str, port: int = 9292) -> list[dict[str, Any]]:
    return [{"address": address, "port": port} for address in addresses]


def test_link_origins_are_the_endpoint_addresses_with_the_path() -> None:
    service = {"endpoints": at("10.0.0.2", "2001:db8::1"), "path": "/img"}

    assert found(service) == ("10.0.0.2:9292/img", "[2001:db8::1]:9292/img")


def test_the_host_of_a_service_is_its_first_link_origin() -> None:
    service = {"endpoints": at("Glance.example"), "host": "glance.Example:9292"}

    assert found(service) == ("glance.example:9292",)


def test_link_origins_omit_default_ports() -> None:
    assert found({"endpoints": at("10.0.0.2", port=443), "host": "a.example:80"}) == (
        "a.example",
        "10.0.0.2",
    )


def test_link_origins_of_a_service_include_its_own_front() -> None:
    service = {"endpoints": at("10.0.0.2")}

    assert found(service, {}) == ("10.0.0.2:9292", "10.0.0.1:8080/image")
    assert found(service, {"ports": {"image": 92, "identity": 50}, "url": "https://A.example"}) == (
        "10.0.0.2:9292",
        "a.example:92",
        "a.example/image",
    )
