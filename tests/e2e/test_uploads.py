"""Large uploads arrive complete in constant memory, also as the first request to a target."""

import hashlib
from collections.abc import Iterator

import pytest

from harness.fleet import Fleet, manifest
from harness.http import send

MEGABYTE = 1 << 20
BLOCK = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def front(fleet: Fleet) -> int:
    """The front of cloud-1; cloud-2 has an Envoy of its own, cloud-3 has none."""
    accept = [{"clouds": ["cloud-1"]}]
    fleet.site("cloud-2", services={"image": fleet.service("glance-2")}, accept=accept)
    fleet.control_plane.put(
        manifest("cloud-3", services={"image": fleet.service("glance-3")}, accept=accept)
    )
    cloud = fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    assert cloud.front
    return cloud.front.port


def blocks(count: int) -> Iterator[bytes]:
    yield from (BLOCK for _ in range(count))


@pytest.mark.parametrize("cloud", ["cloud-2", "cloud-3"])
def test_an_upload_of_200_megabytes_as_the_first_request_arrives_complete(
    fleet: Fleet, front: int, cloud: str
) -> None:
    envoys = list(fleet.envoys.values())
    before = [envoy.memory() for envoy in envoys]
    response = send(
        front,
        "/image/v2/images/1/file",
        [("X-Scope", f"{{image:{cloud}}}")],
        method="PUT",
        body=blocks(200),
    )
    grown = [envoy.peak_memory() - memory for envoy, memory in zip(envoys, before, strict=True)]
    expected = hashlib.sha256()
    for block in blocks(200):
        expected.update(block)

    assert (response.status, response.json["length"]) == (200, 200 * MEGABYTE)
    assert response.json["sha256"] == expected.hexdigest()
    assert max(grown) < 60 * MEGABYTE, grown
