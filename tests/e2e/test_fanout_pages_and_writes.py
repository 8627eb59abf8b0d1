"""Sorted pages, writes and `^` through real Envoys, with mutual TLS between the sites."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from harness.fleet import Fleet
from harness.http import Response, send
from harness.image_service import ImageService
from harness.services import at
from scopeway.control_plane.collector.collector import Collector, serving
from scopeway.control_plane.collector.limits import Limits
from scopeway.control_plane.collector.listing.markers import MAX_MARKER, PREFIX

pytestmark = pytest.mark.fleet(certificates=True)

BOTH = "{image: a & b}"
SORTED = "/image/v2/images?sort=name:asc&limit=3"
Sites = dict[str, ImageService]


class Site:
    """The front of cloud-1, and the image services of the others."""

    def __init__(self, port: int, services: Sites, collector: Collector) -> None:
        self.port = port
        self.services = services
        self.collector = collector

    def send(self, location: str, scope: str = BOTH, **more: Any) -> Response:
        headers = [("X-Scope", scope), *more.pop("headers", ())]
        if "X-Auth-Token" not in dict(headers):
            headers.append(("X-Auth-Token", "gAAA"))
        return send(self.port, location, headers, **more)

    def create(self, document: dict[str, Any], scope: str = BOTH, **more: Any) -> Response:
        more["headers"] = [("Content-Type", "application/json")]
        more["body"] = json.dumps(document).encode()
        return self.send("/image/v2/images", scope, method="POST", **more)


@pytest.fixture(scope="module")
def started(fleet: Fleet) -> Iterator[Site]:
    services = {name: ImageService().start() for name in ("a", "b", "c")}
    for name, service in services.items():
        fleet.site(
            name,
            services={"image": {"endpoints": [at(service.port)]}},
            accept=[{"clouds": ["cloud-1"]}],
            labels={"tier": "edge"},
        )
    folder = fleet.collector_folder("cloud-1")
    collecting = serving(folder, limits=Limits(), users=frozenset([os.getuid()]), drain=0)
    collector = fleet.background.run(collecting.__aenter__())
    cloud = fleet.site("cloud-1", services={}, collector=folder)
    assert cloud.front
    yield Site(cloud.front.port, services, collector)
    fleet.background.run(collecting.__aexit__(None, None, None))
    for service in services.values():
        service.stop()


@pytest.fixture
def site(started: Site) -> Iterator[Site]:
    for service in started.services.values():
        service.images.clear()
        service.seen.clear()
    yield started
    for service in started.services.values():
        service.status = 0


def names(response: Response) -> list[str]:
    assert response.status == 200, response.body
    return [each["name"] for each in response.json["images"]]


def follow(response: Response) -> str:
    """Return where the next page is, as a client that knows its endpoint does."""
    return "/image" + str(response.json["next"])


class TestPages:
    """`limit` and `sort`."""

    def test_the_next_links_lead_through_all_images_in_order(self, site: Site) -> None:
        site.services["a"].add(*(f"a{at:02}" for at in range(0, 20, 2)))
        site.services["b"].add(*(f"a{at:02}" for at in range(1, 20, 2)))
        found: list[str] = []
        location = SORTED
        while location:
            response = site.send(location)
            found += names(response)
            assert response.headers["x-scopeway-report"] == "asked=2, answered=2, failed=0"
            location = follow(response) if "next" in response.json else ""
        assert found == [f"a{at:02}" for at in range(20)]

    def test_a_cloud_that_is_away_for_one_page_goes_on_at_its_place(self, site: Site) -> None:
        site.services["a"].add("a1", "a2", "a3", "a4", "a5")
        site.services["b"].add("b1", "b2", "b3", "a0")
        first = site.send(SORTED)
        site.services["b"].status = 503
        second = site.send(follow(first))
        site.services["b"].status = 0
        third = site.send(follow(second))

        assert (names(first), names(second)) == (["a0", "a1", "a2"], ["a3", "a4", "a5"])
        (failed,) = second.json["scopeway:report"]["failed"]
        assert (failed["cloud"], failed["status"], failed["reason"]) == ("b", 503, "not now")
        assert names(third) == ["b1", "b2", "b3"]

    def test_an_id_as_a_marker_goes_on_behind_the_item_in_the_same_order(self, site: Site) -> None:
        site.services["a"].add("a1", "a2", "a3")
        site.services["b"].add("b1", "b2")
        first = site.send(SORTED).json["images"][-1]["id"]
        # each `openstack` command has a token of its own
        second = site.send(f"{SORTED}&marker={first}", headers=[("X-Auth-Token", "gBBB")])
        assert names(second) == ["b1", "b2"]
        # openstacksdk asks once more behind the last item
        last = second.json["images"][-1]["id"]
        assert names(site.send(f"{SORTED}&marker={last}")) == []
        other = site.send(f"/image/v2/images?sort=id:asc&limit=3&marker={first}")
        assert other.status == 400

    def test_the_longest_marker_fits_the_headers(self, site: Site) -> None:
        marker = PREFIX + "A" * (MAX_MARKER - len(PREFIX))
        response = site.send(f"{SORTED}&marker={marker}", "{image: &[tier=edge]}")
        assert response.status == 400
        assert "the marker is not whole" in response.json["error"]["message"]

    def test_all_clouds_may_be_required(self, site: Site) -> None:
        site.services["b"].status = 503
        response = site.send(SORTED, headers=[("X-Scope-Require", "all")])
        assert response.status == 502
        assert response.headers["x-scopeway-rejected"] == "true"


class TestWrites:
    """Writes to a few clouds."""

    def test_an_image_is_created_listed_and_deleted_in_two_clouds(self, site: Site) -> None:
        created = site.create({"name": "cirros"})
        new = created.json["id"]
        assert created.status == 201
        assert created.headers["x-scopeway-report"] == (
            f'a;status=201;id="{new}", b;status=201;id="{new}"'
        )
        (listed,) = site.send(SORTED).json["images"]
        assert (listed["scopeway:cloud"], listed["id"]) == ("a,b", new)

        deleted = site.send(f"/image/v2/images/{new}", method="DELETE")
        assert (deleted.status, deleted.headers["x-scopeway-report"]) == (
            204,
            "a;status=204, b;status=204",
        )
        assert site.send(f"/image/v2/images/{new}").status == 404
        assert site.send(f"/image/v2/images/{new}", method="DELETE").status == 404

    def test_a_write_that_a_cloud_did_not_get_is_completed_by_a_repeat_with_its_id(
        self, site: Site
    ) -> None:
        site.services["b"].stop()
        try:
            partial = site.create({"name": "cirros"})
        finally:
            site.services["b"].start()
        assert partial.status == 500
        error = partial.json["error"]
        assert error["title"] == "Done in part"
        assert error["message"].startswith("POST was done at a, and failed at b: ")
        done, failed = partial.json["scopeway:report"]["results"]
        assert (done["status"], done["done"]) == (201, "yes")
        assert (failed["cloud"], failed["status"], failed["done"]) == ("b", 503, "no")

        repeated = site.create({"name": "cirros", "id": done["id"]})
        assert repeated.status == 201
        assert [*site.services["a"].images] == [*site.services["b"].images] == [done["id"]]

    def test_a_write_is_sent_once(self, site: Site) -> None:
        site.services["b"].status = 503
        partial = site.create({"name": "cirros"})
        assert partial.json["scopeway:report"]["results"][1]["done"] == "perhaps"
        assert site.services["b"].seen == [("POST", "/v2/images")]
        assert "retry-after" not in partial.headers

    def test_a_write_to_a_cloud_that_cannot_be_asked_is_sent_nowhere(self, site: Site) -> None:
        response = site.create({"name": "cirros"}, "{image: a & nowhere}")
        assert response.status == 400
        assert "nothing was sent to any cloud: nowhere: " in response.json["error"]["message"]
        assert site.services["a"].seen == []

    def test_a_write_to_a_label_needs_all_clouds_to_be_required(self, site: Site) -> None:
        refused = site.create({"name": "cirros"}, "{image: &[tier=edge]}")
        assert refused.status == 400
        assert "X-Scope-Require: all" in refused.json["error"]["message"]

    def test_a_label_is_written_to_where_all_its_clouds_are_required(self, site: Site) -> None:
        headers = [("Content-Type", "application/json"), ("X-Scope-Require", "all")]
        scope = "{image: &[tier=edge]}"
        created = site.send(
            "/image/v2/images", scope, method="POST", body=b'{"name": "cirros"}', headers=headers
        )
        assert created.status == 201
        new = created.json["id"]
        assert [[*service.images] for service in site.services.values()] == [[new]] * 3

    def test_a_write_goes_on_when_its_client_has_left(self, fleet: Fleet, site: Site) -> None:
        a, b = site.services["a"], site.services["b"]
        a.answers.clear()
        b.answers.clear()
        try:
            with pytest.raises(TimeoutError):
                site.create({"name": "cirros"}, timeout=1.0)
            assert fleet.eventually(lambda: len(a.seen) == len(b.seen) == 1)
            assert site.collector.admission.under_way == 1  # it counts until the clouds answer
        finally:
            a.answers.set()
            b.answers.set()
        assert fleet.eventually(lambda: len(a.images) == len(b.images) == 1)
        assert fleet.eventually(lambda: site.collector.admission.under_way == 0)
        assert a.seen == b.seen == [("POST", "/v2/images")]


class TestExactlyOne:
    """`^`"""

    def test_a_resource_of_one_cloud_is_found_and_one_of_two_is_a_conflict(
        self, site: Site
    ) -> None:
        site.services["a"].add("of a", "of both")
        site.services["b"].add("of both")
        ids = {each["name"]: each["id"] for each in site.services["a"].images.values()}
        scope = "{image: a ^ b}"

        found = site.send(f"/image/v2/images/{ids['of a']}", scope)
        assert (found.status, found.json["name"]) == (200, "of a")
        conflict = site.send(f"/image/v2/images/{ids['of both']}", scope)
        assert conflict.status == 409
        assert conflict.json["error"]["message"] == "a and b both have it"
        assert site.send("/image/v2/images/other", scope).status == 404
        site.services["b"].status = 503
        assert site.send(f"/image/v2/images/{ids['of a']}", scope).status == 502
        assert site.send("/image/v2/images", scope).status == 501
