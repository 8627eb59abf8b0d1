"""Fan-outs in use: for which Envoys, and what a change of their clouds means."""

import gc
from dataclasses import replace
from time import thread_time
from typing import Any

import pytest
from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from harness.clock import Clock
from harness.source import Fleet, cloud, node
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    CloudPattern,
    Endpoint,
    IdentityRule,
    Service,
)
from scopeway.control_plane.planner.fanout import MAX_CLOUDS
from scopeway.control_plane.serving.debounce import REST
from scopeway.control_plane.serving.view import StreamView
from scopeway.control_plane.translator.node_setup import EARLIER, PROTOCOL, setup_of
from scopeway.xds.source import NodeView
from scopeway.xds.steps import Steps, finish
from scopeway.xds.type_urls import CLUSTER

FOLDER = "/run/scopeway"
EDGE = {"tier": "edge"}
KEYSTONE = {"identity": Service(endpoints=(Endpoint(address="127.0.0.1", port=5000),))}
HONOURED = (CloudPattern(name="cloud-1"), CloudPattern(name="cloud-2"))


def metadata(view: NodeView, name: str) -> dict[str, Any]:
    """Return what the cluster of a target says."""
    found = view.resource(CLUSTER, name)
    assert found
    decoded = Cluster.parse(found.body).metadata
    assert decoded
    return decoded.filter_metadata["scopeway"].to_dict()


def socket_of(view: NodeView, name: str) -> str | None:
    """Return the socket that is the endpoint of the cluster of a target, if it is one."""
    found = view.resource(CLUSTER, name)
    assert found
    assignment = Cluster.parse(found.body).load_assignment
    assert assignment
    endpoint = assignment.endpoints[0].lb_endpoints[0].endpoint
    assert endpoint
    assert endpoint.address
    return endpoint.address.pipe.path if endpoint.address.pipe else None


def told(fleet: Fleet) -> list[tuple[str, frozenset[str] | None, str]]:
    return [each for each in fleet.notifier.told if each[0] == CLUSTER]


def cpu_of_each(steps: Steps[None]) -> list[float]:
    """Return the seconds of CPU of each step, without collections of garbage."""
    times, begin = [], thread_time()
    gc.disable()
    try:
        for _ in steps:
            times.append(thread_time() - begin)
            begin = thread_time()
    finally:
        gc.enable()
    return [*times, thread_time() - begin]


def prepare(view: NodeView, name: str) -> Steps[None]:
    assert isinstance(view, StreamView)
    steps = view.prepare(CLUSTER, name)
    assert steps is not None
    return steps


class TestSetup:
    """Each Envoy of a site has a collector, or none."""

    def test_an_envoy_with_a_collector_gets_the_socket_in_its_folder(self) -> None:
        view = Fleet(cloud("cloud-1"), cloud("cloud-2")).attach(collector=FOLDER)
        found = view.resource(CLUSTER, "image@cloud-1&cloud-2")
        assert found
        assignment = Cluster.parse(found.body).load_assignment
        assert assignment
        (locality,) = assignment.endpoints
        (endpoint,) = locality.lb_endpoints

        assert endpoint.endpoint is not None
        assert endpoint.endpoint.address is not None
        assert endpoint.endpoint.address.pipe is not None
        assert endpoint.endpoint.address.pipe.path == "/run/scopeway/collector.sock"

    def test_an_envoy_without_one_gets_a_501_beside_another_that_has_one(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        with_one, without = fleet.attach(collector=FOLDER), fleet.attach()

        assert metadata(with_one, "image@cloud-1&cloud-2")["members"] == "cloud-1,cloud-2"
        assert metadata(without, "image@cloud-1&cloud-2") == {
            "prefix": "",
            "host": "",
            "status": "501",
            "reason": "cloud-1 has no collector (scopeway collect)",
        }
        assert metadata(with_one, "image@cloud-1&cloud-2")["members"] == "cloud-1,cloud-2"

    @pytest.mark.parametrize(
        ("folder", "taken"),
        [
            ("/run/scopeway", "/run/scopeway"),
            ("/" + "a" * 91, "/" + "a" * 91),
            ("/" + "a" * 92, ""),
            ("run", ""),
            ("", ""),
            ("@abstract", ""),
            ("/run/\0", ""),
            ("/run/\n", ""),
        ],
    )
    def test_a_folder_that_no_socket_can_be_in_is_none(self, folder: str, taken: str) -> None:
        said = {"scopeway.protocol": PROTOCOL, "scopeway.collector": folder}

        assert setup_of(said).collector == taken

    @pytest.mark.parametrize(
        ("said", "cached"),
        [
            ({"scopeway.collector": FOLDER, "scopeway.validations": "cached"}, True),
            ({"scopeway.collector": FOLDER, "scopeway.validations": "yes"}, False),
            ({"scopeway.collector": FOLDER}, False),
            ({"scopeway.validations": "cached"}, False),
        ],
    )
    def test_validations_are_cached_where_a_bootstrap_says_so_and_names_a_collector(
        self, said: dict[str, str], cached: bool
    ) -> None:
        assert setup_of({"scopeway.protocol": PROTOCOL, **said}).caches_validations is cached

    def test_the_collector_gets_the_validations_of_its_own_cloud_only(self) -> None:
        accept = (AcceptRule(clouds=HONOURED, identity=IdentityRule(clouds=HONOURED)),)
        clouds = [
            replace(cloud(name), services=KEYSTONE, accept=accept)
            for name in ("cloud-1", "cloud-2")
        ]
        view = Fleet(*clouds).attach(collector=FOLDER, validations="cached")
        other = Fleet(*clouds).attach(collector=FOLDER)

        assert socket_of(view, "identity.validate@cloud-1") == "/run/scopeway/validate.sock"
        assert metadata(view, "identity.validate@cloud-1") == {
            "prefix": "",
            "host": "",
            "cloud": "cloud-1",
        }
        assert socket_of(view, "identity@cloud-1") is None
        assert socket_of(view, "identity.validate@cloud-2") is None
        assert socket_of(other, "identity.validate@cloud-1") is None

    def test_envoys_of_an_earlier_version_have_no_collector(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        view = fleet.source.attach(node("cloud-1", EARLIER))

        assert metadata(view, "image@cloud-1&cloud-2")["status"] == "501"
        assert metadata(view, "image@cloud-2|cloud-1").keys() == {"prefix", "host"}


class TestChanges:
    def test_a_member_that_goes_is_missing_from_then_on(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        view = fleet.attach(collector=FOLDER)
        name = "image@cloud-1&cloud-2"
        assert metadata(view, name)["missing"] == ""
        fleet.delete("cloud-2")

        assert told(fleet) == [(CLUSTER, frozenset({name}), "cloud-1")]
        assert metadata(view, name)["members"] == "cloud-1"
        assert metadata(view, name)["missing"] == "cloud-2=404/unknown"

    def test_a_new_cloud_with_the_label_is_a_member(self) -> None:
        fleet = Fleet(cloud("cloud-1", **EDGE))
        view = fleet.attach(collector=FOLDER)
        name = "image@&[tier=edge]"
        assert metadata(view, name)["members"] == "cloud-1"
        fleet.put(cloud("cloud-2", **EDGE))

        assert told(fleet) == [(CLUSTER, frozenset({name}), "cloud-1")]
        assert metadata(view, name)["members"] == "cloud-1,cloud-2"

    def test_a_cloud_that_flaps_is_told_once_a_second_and_single_targets_at_once(self) -> None:
        clock = Clock()
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2", 1, **EDGE), timer=clock)
        view = fleet.attach(collector=FOLDER)
        fanouts = {"image@cloud-1&cloud-2", "image@cloud-1^cloud-2", "image@&[tier=edge]"}
        single = "image@cloud-2"
        for name in (*fanouts, single):
            assert view.resource(CLUSTER, name)
        counts = []
        for second in range(5):
            for port in range(8):
                fleet.put(cloud("cloud-2", 100 * second + port, **EDGE))
                clock.advance(REST / 8)
                counts.append({name for _, names, _ in told(fleet) for name in names or ()})

        assert counts[0] == {*fanouts, single}
        assert all(names == {single} for names in counts[1:7])
        for name in fanouts:  # the first change, and one at the end of each second
            assert [name in names for names in counts].count(True) == 6
        assert all(single in names for names in counts)

    def test_the_last_change_of_a_flapping_cloud_arrives(self) -> None:
        clock = Clock()
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), timer=clock)
        view = fleet.attach(collector=FOLDER)
        name = "image@cloud-1&cloud-2"
        assert view.resource(CLUSTER, name)
        fleet.delete("cloud-2")
        fleet.put(cloud("cloud-2"))
        fleet.delete("cloud-2")
        assert told(fleet) == []
        clock.advance(REST)

        assert told(fleet) == [(CLUSTER, frozenset({name}), "cloud-1")]
        assert metadata(view, name)["members"] == "cloud-1"


class TestLarge:
    """Plans of thousands of clouds, in steps."""

    NAME = "image@&[tier=edge]"

    @pytest.fixture
    def fleet(self) -> Fleet:
        others = (cloud(f"edge-{number:04}", **EDGE) for number in range(MAX_CLOUDS))
        return Fleet(cloud("cloud-1"), *others)

    def test_no_step_of_a_fanout_takes_long(self, fleet: Fleet) -> None:
        view = fleet.attach(collector=FOLDER)
        steps = prepare(view, self.NAME)
        times = cpu_of_each(steps)

        assert len(times) > 100
        assert max(times) < sum(times) / 5
        begin = thread_time()
        assert view.resource(CLUSTER, self.NAME)
        assert thread_time() - begin < sum(times) / 2  # it makes no plan
        assert metadata(view, self.NAME)["members"].count(",") == MAX_CLOUDS - 1

    def test_a_change_while_a_fanout_is_planned_is_part_of_it(self, fleet: Fleet) -> None:
        view = fleet.attach(collector=FOLDER)
        steps = prepare(view, self.NAME)
        for _ in range(10):
            next(steps)
        fleet.delete("edge-0000")
        finish(steps)

        assert metadata(view, self.NAME)["members"].startswith("edge-0001,")

    def test_a_change_after_a_fanout_was_planned_is_part_of_it(self, fleet: Fleet) -> None:
        view = fleet.attach(collector=FOLDER)
        finish(prepare(view, self.NAME))
        fleet.delete("edge-0000")

        assert metadata(view, self.NAME)["members"].startswith("edge-0001,")

    def test_plans_that_nobody_takes_are_few(self, fleet: Fleet) -> None:
        view = fleet.attach(collector=FOLDER)
        assert isinstance(view, StreamView)
        for number in range(100):
            finish(prepare(view, f"image@edge-{number:04}&cloud-1"))

        clusters = view._lookups.clusters
        assert len(clusters._planned) == 16

    @pytest.mark.parametrize("name", ["image@cloud-1", "image@a|b", "image@(", "image@a&&"])
    def test_other_targets_need_no_steps(self, name: str) -> None:
        view = Fleet(cloud("cloud-1")).attach(collector=FOLDER)
        assert isinstance(view, StreamView)

        assert view.prepare(CLUSTER, name) is None


def test_sites_with_equal_plans_share_the_bytes_of_a_fanout() -> None:
    fleet = Fleet(*(cloud(f"cloud-{number}", **EDGE) for number in range(1, 4)))
    for number in (2, 3):
        view = fleet.attach(f"cloud-{number}", collector=FOLDER)
        assert view.resource(CLUSTER, "image@cloud-1&cloud-2&cloud-3")

    assert fleet.source.stats().compiled == 1
