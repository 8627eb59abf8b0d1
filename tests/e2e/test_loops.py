"""Loops through the fronts and peers of several sites."""

from itertools import pairwise

import pytest

from harness.fleet import Fleet, at, manifest
from harness.http import send
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.fleet(certificates=True)

ANYONE = [{"clouds": ["cloud-1", "cloud-2", "cloud-3"]}]


def lead(fleet: Fleet, cloud: Cloud, to: Cloud, service: str) -> None:
    """Register as a cloud's image service the front of a cloud."""
    assert cloud.front
    assert cloud.peer
    assert to.front
    services = {"image": {"endpoints": [at(to.front.port)], "path": f"/{service}"}}
    front, peer = at(cloud.front.port), at(cloud.peer.port)
    fleet.control_plane.put(
        manifest(cloud.name, front=front, peer=peer, services=services, accept=ANYONE)
    )


@pytest.fixture(scope="module")
def clouds(fleet: Fleet) -> list[Cloud]:
    return [
        fleet.site(f"cloud-{number}", services={"image": fleet.nobody()}, accept=ANYONE)
        for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_loop_through_other_sites_is_answered_508(
    fleet: Fleet, clouds: list[Cloud], length: int
) -> None:
    """cloud-1's front, cloud-2's peer, cloud-3's front, …, cloud-1's front again."""
    first, *others = clouds[:length]
    assert first.front
    around = [first, *others, first]
    for cloud, after in pairwise(around):
        # a front with a scope in the path leads on to the peer of that very cloud
        scope = f"~%7Bimage:{after.name}%7D/image" if after is not first else "image"
        lead(fleet, cloud, cloud if after is not first else after, scope)

    def answer() -> tuple[int, str]:
        assert first.front
        response = send(first.front.port, "/image/v2")
        message = "" if response.status == 200 else response.error["message"]
        return response.status, message

    assert fleet.eventually(lambda: answer()[0] == 508)
    assert answer()[1].startswith("this request has been at cloud-")
