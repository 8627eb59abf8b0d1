"""The documents that all clouds have: every client reads versions first, also for a `^`."""

import pytest

from harness.fake_clouds import fan_out_headers
from scopeway.control_plane.collector.messages.request import read_request
from scopeway.control_plane.collector.messages.ways import Way, way_of


def way(path: str) -> Way:
    headers = fan_out_headers(["a", "b"], service="image", operator="^")
    request = read_request(
        "GET", path.encode(), [(name.encode(), value.encode()) for name, value in headers.items()]
    )
    return way_of(request)[0]


@pytest.mark.parametrize(
    "path",
    ["/", "/v2", "/v2/", "/v2.1/", "/v3", "//", "/versions", "/v2/schemas/image", "/v2/versions"],
)
def test_versions_and_schemas_are_those_of_the_first_cloud(path: str) -> None:
    assert way(path) is Way.ONE


@pytest.mark.parametrize(
    "path", ["/v2/images/1", "/v2/images/schemas", "/v2x", "/v2/images/1/versions", "/volumes/v2"]
)
def test_a_resource_is_that_of_the_only_cloud_that_has_it(path: str) -> None:
    assert way(path) is Way.EXACTLY_ONE
