"""A site that asks for more rejected targets than one stream may have."""

import time

import pytest

from harness.fleet import Fleet, manifest
from harness.http import Response, send
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.translator.http_connection_managers import ON_DEMAND_TIMEOUT

ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    """The port of the front of cloud-1, whose Envoy may have two targets that cannot be served."""
    fleet.control_plane.stop()
    fleet.control_plane.limits = SourceLimits(negative=2)
    fleet.control_plane.start()
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


def ask(front: int, cloud: str) -> Response:
    return send(front, "/image/", [("X-Scope", f"{{image:{cloud}}}")])


def test_an_envoy_beyond_the_target_limit_is_served_when_the_cloud_is_registered(
    fleet: Fleet, front: int
) -> None:
    assert [ask(front, f"cloud-{number}").status for number in (6, 7)] == [404, 404]
    beyond = ask(front, "cloud-8")

    assert (beyond.status, beyond.error["code"]) == (503, 503)
    assert "has too many that cannot be served" in beyond.error["message"]
    assert ask(front, "cloud-6").error["message"] == "no cloud is named cloud-6"
    began = time.monotonic()
    again = ask(front, "cloud-8")
    assert (again.status, again.body) == (503, beyond.body)
    assert time.monotonic() - began > ON_DEMAND_TIMEOUT.total_seconds() / 2

    service = fleet.service("glance-8")
    fleet.control_plane.put(manifest("cloud-8", services={"image": service}, accept=ANYONE))

    assert fleet.eventually(lambda: ask(front, "cloud-8").status == 200)
