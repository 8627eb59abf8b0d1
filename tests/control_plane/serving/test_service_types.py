"""Declared service types: which targets and sites a change of them concerns."""

from dataclasses import replace

from harness.source import (
    Fleet,
    cloud,
    node,
    status,
)
from scopeway.control_plane.clouds.service_type import ServiceList, ServiceType
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.xds.steps import finish
from scopeway.xds.type_urls import CLUSTER, EXTENSION


class TestServiceTypes:
    SENSOR = ServiceType(name="sensor", aliases=("probe",))

    def fleet(
        self, *declared: ServiceType, prefetch: str = "", limits: SourceLimits | None = None
    ) -> Fleet:
        home = cloud("cloud-1")
        place = home.services["image"]
        other = replace(cloud("cloud-2"), services={"image": place, "sensor": place})
        fleet = Fleet(home, other, prefetch=prefetch, limits=limits)
        fleet.declare(*declared)
        return fleet

    def test_a_target_works_when_its_type_is_declared_and_not_when_it_is_removed(self) -> None:
        fleet = self.fleet()
        view = fleet.attach()
        assert status(view, "sensor@cloud-2") == "404"
        assert status(view, "image@cloud-2") is None

        fleet.declare(self.SENSOR)

        assert (CLUSTER, {"sensor@cloud-2"}, "cloud-1") in fleet.notifier.told
        assert status(view, "sensor@cloud-2") is None

        fleet.declare()

        clusters = [each for each in fleet.notifier.told if each[0] == CLUSTER]
        assert clusters == [(CLUSTER, {"sensor@cloud-2"}, "cloud-1")], "and no other target"
        assert status(view, "sensor@cloud-2") == "404"
        assert status(view, "image@cloud-2") is None

    def test_a_changed_type_concerns_its_own_targets_only(self) -> None:
        fleet = self.fleet(self.SENSOR, ServiceType(name="valve"))
        view = fleet.attach()
        for name in ("sensor@cloud-2", "sensor@cloud-2|cloud-1", "valve@cloud-2", "image@cloud-2"):
            view.resource(CLUSTER, name)

        fleet.declare(replace(self.SENSOR, protocol="openstack"), ServiceType(name="valve"))

        clusters = [each for each in fleet.notifier.told if each[0] == CLUSTER]
        assert clusters == [(CLUSTER, {"sensor@cloud-2", "sensor@cloud-2|cloud-1"}, "cloud-1")]

    def test_the_lua_of_all_sites_is_made_again_and_their_listeners_stay(self) -> None:
        fleet = self.fleet()
        views = [fleet.attach(name) for name in ("cloud-1", "cloud-2")]

        fleet.declare(self.SENSOR)

        assert sorted(fleet.notifier.told) == [
            (EXTENSION, {"lua/front"}, "cloud-1"),
            (EXTENSION, {"lua/front"}, "cloud-2"),
        ]
        made = [view.resource(EXTENSION, "lua/front") for view in views]
        assert [each and each.body for each in made] == [b"lua  sensor"] * 2

    def test_a_change_that_lua_does_not_see_leaves_the_sites_alone(self) -> None:
        fleet = self.fleet(self.SENSOR)
        fleet.attach()

        made: list[str] = []
        fleet.source._site_resources._make_site = lambda cloud, *_: made.append(cloud.name) or ()

        fleet.declare(replace(self.SENSOR, lists=(ServiceList(path="/readings"),)))

        assert fleet.notifier.told == []
        assert made == []

    def test_a_site_that_connects_during_a_change_of_types_gets_the_new_lua(self) -> None:
        fleet = self.fleet()
        for count, _ in enumerate(fleet.source.prepare(node("cloud-1"))):
            if not count:
                fleet.declare(self.SENSOR)
        found = fleet.attach().resource(EXTENSION, "lua/front")

        assert found is not None
        assert found.body == b"lua  sensor"

    def test_a_site_that_connects_after_a_change_of_types_gets_the_new_lua(self) -> None:
        fleet = self.fleet()
        finish(fleet.source.prepare(node("cloud-1")))
        fleet.declare(self.SENSOR)
        found = fleet.attach().resource(EXTENSION, "lua/front")

        assert found is not None
        assert found.body == b"lua  sensor"

    def test_prefetched_targets_follow_the_declared_types(self) -> None:
        fleet = self.fleet(prefetch="cloud-2")
        view = fleet.attach()
        assert "sensor@cloud-2" not in view.wildcard(CLUSTER)

        fleet.declare(self.SENSOR)

        assert "sensor@cloud-2" in view.wildcard(CLUSTER)
        assert (CLUSTER, None, "cloud-1") in fleet.notifier.told

    def test_a_target_that_is_used_no_more_is_forgotten(self) -> None:
        fleet = self.fleet(self.SENSOR, limits=SourceLimits(idle_sites=0))
        view = fleet.attach()
        view.resource(CLUSTER, "sensor@cloud-2")
        view.close()
        fleet.attach()

        fleet.declare()

        assert fleet.notifier.told == [(EXTENSION, {"lua/front"}, "cloud-1")]
