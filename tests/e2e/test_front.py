"""What a client meets at the front of a site, through a real Envoy and the real control plane."""

import hashlib
from collections.abc import Iterator

import pytest
from harness.fleet import Fleet, at, manifest
from harness.http import Connection, Response, send

from control_plane.clouds.model import Cloud


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> Iterator[int]:
    """The port of cloud-1's front; cloud-2 is a site, cloud-3 has no Envoy of ours."""
    anyone = [{"clouds": ["cloud-1"]}]
    fleet.site(
        "cloud-2",
        services={"image": {"endpoints": [at(fleet.echo("glance-2").port)]}},
        accept=anyone,
    )
    fleet.control_plane.put(
        manifest(
            "cloud-3",
            services={
                "image": {
                    "endpoints": [at(fleet.echo("glance-3").port)],
                    "path": "/img",
                    "host": "glance.cloud-3.example",
                }
            },
            accept=anyone,
        )
    )
    cloud = fleet.site(
        "cloud-1",
        ports=("image",),
        services={"image": {"endpoints": [at(fleet.echo("glance-1").port)]}},
    )
    assert cloud.front
    return cloud.front.port


def test_without_a_scope_the_own_service_answers(front: int) -> None:
    response = send(front, "/image/v2/images?limit=2")

    assert response.status == 200
    assert (response.json["name"], response.json["path"]) == ("glance-1", "/v2/images?limit=2")
    assert response.headers["x-scopeway-served-by"] == "cloud-1"


def test_a_scope_names_the_cloud_that_answers(front: int) -> None:
    for cloud, name, path in (("cloud-2", "glance-2", "/v2/x"), ("cloud-3", "glance-3", "/img/v2/x")):
        response = send(front, "/image/v2/x", [("X-Scope", f"{{glance:{cloud}}}")])

        assert (response.json["name"], response.json["path"]) == (name, path)
        assert response.headers["x-scopeway-served-by"] == cloud
