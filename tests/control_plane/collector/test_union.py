"""A page of each cloud, joined."""

import pytest

from harness.collector_site import collector_site
from harness.fake_clouds import images

pytestmark = pytest.mark.asyncio


async def test_a_union_names_the_cloud_of_each_item_and_reports_last() -> None:
    async with collector_site() as site:
        site.clouds.behaviours = {"a": images("1", "2"), "b": images("3")}
        response = await site.client.ask("/v2/images", ["a", "b"])

    assert response.status == 200
    document = response.json()
    assert list(document) == ["images", "scopeway:report"]
    assert sorted((each["id"], each["scopeway:cloud"]) for each in document["images"]) == [
        ("1", "a"),
        ("2", "a"),
        ("3", "b"),
    ]
    assert document["scopeway:report"] == {"asked": 2, "answered": 2, "failed": []}
    assert response.headers["x-scopeway-report"] == "asked=2"
    assert sorted(site.clouds.asked()) == ["a", "b"]
