"""`a | b`: the first cloud dies right before the next request."""

import pytest

from harness.fleet import Fleet, manifest
from harness.http import send

ANYONE = [{"clouds": ["cloud-1"]}]
MEGABYTE = 1 << 20


@pytest.mark.parametrize("size", [5, 2 * MEGABYTE, 60 * MEGABYTE])
def test_a_body_of_any_size_reaches_the_next_cloud_if_the_first_dies(
    fleet: Fleet, size: int
) -> None:
    """The first request that meets the dead cloud, so nothing has ejected it yet."""
    if "cloud-1" not in fleet.envoys:
        fleet.site("cloud-1", services={"image": fleet.service("glance-1")})
    home = fleet.control_plane.inventory.get("cloud-1")
    assert home is not None
    assert home.front is not None
    name = f"dying-{size}"
    dying = fleet.echo(name)
    # no connection outlives a request, so the next one meets the closed port
    dying.headers = [("connection", "close")]
    service = fleet.service(name, path="/elsewhere")
    fleet.control_plane.put(manifest(name, services={"image": service}, accept=ANYONE))
    scope = [("X-Scope", f"{{image:{name}|cloud-1}}")]
    assert send(home.front.port, "/image/v2/x", scope).json["name"] == name

    dying.stop(fleet.background)
    response = send(home.front.port, "/image/v2/x", scope, method="PUT", body=b"x" * size)

    assert response.status == 200
    assert (response.json["name"], response.json["length"]) == ("glance-1", size)
