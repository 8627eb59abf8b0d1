"""Loops from a front to itself, by its own services or by a cloud without an Envoy."""

import pytest

from harness.fleet import Fleet, at, manifest
from harness.http import send
from scopeway.control_plane.clouds.model import Cloud

ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def site(fleet: Fleet) -> Cloud:
    return fleet.site("cloud-1", ports=("image",), services={"image": fleet.service("glance-1")})


@pytest.fixture(scope="module")
def front(site: Cloud) -> int:
    assert site.front
    return site.front.port


def test_a_request_that_returns_to_its_front_is_answered_508(fleet: Fleet, site: Cloud) -> None:
    assert site.front
    own_front = {"endpoints": [at(site.front.ports["image"])]}
    fleet.control_plane.put(manifest("cloud-mirror", services={"image": own_front}, accept=ANYONE))
    response = send(site.front.port, "/image/", [("X-Scope", "{image:cloud-mirror}")])

    assert (response.status, response.error["code"]) == (508, 508)
    assert "cloud-1" in response.error["message"]


def test_a_site_whose_service_is_its_own_front_is_answered_508(fleet: Fleet, front: int) -> None:
    cloud = fleet.site("cloud-knot", services={"image": fleet.nobody()}, accept=ANYONE)
    assert cloud.front
    assert cloud.peer
    own_front = {"endpoints": [at(cloud.front.port)], "path": "/image"}
    fleet.control_plane.put(
        manifest(
            "cloud-knot",
            front=at(cloud.front.port),
            peer=at(cloud.peer.port),
            services={"image": own_front},
            accept=ANYONE,
        )
    )

    assert fleet.eventually(
        lambda: send(front, "/image/", [("X-Scope", "{image:cloud-knot}")]).status == 508
    )


def test_a_via_header_of_other_proxies_is_no_loop(front: int) -> None:
    via = "1.1 my-cloud-1.scopeway, 1.1 cloud-11.scopeway, 1.0 fred"
    response = send(front, "/image/", [("Via", via)])

    assert response.status == 200
    assert ["via", f"{via},1.1 cloud-1.scopeway"] in response.json["headers"]
