"""The resources of each Envoy, and the notifications after a change."""

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pytest

from harness.source import (
    ANYBODY,
    BROKEN,
    Fleet,
    Recorder,
    cloud,
    node,
    one_by_one,
    peered,
    site,
    status,
)
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud, CloudPattern, Endpoint, Service
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.serving.stats import ANSWER_BOUNDS
from scopeway.control_plane.translator.node_setup import EARLIER, PROTOCOL
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import KnowsVersions, Node, NodeView
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET


class TestConnectedSites:
    def test_a_site_is_connected_while_one_of_its_streams_is_open(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        assert fleet.source.connected_sites() == frozenset()
        first, second = fleet.attach("cloud-1"), fleet.attach("cloud-1")
        assert fleet.source.connected_sites() == {"cloud-1"}
        first.close()
        assert fleet.source.connected_sites() == {"cloud-1"}
        second.close()
        assert fleet.source.connected_sites() == frozenset()

    def test_the_same_value_is_returned_until_a_stream_comes_or_goes(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        fleet.attach("cloud-1")
        before = fleet.source.connected_sites()
        assert fleet.source.connected_sites() is before
        fleet.attach("cloud-1")
        assert fleet.source.connected_sites() == before


class TestAttach:
    def test_a_node_belongs_to_the_group_of_its_cloud(self) -> None:
        assert Fleet(cloud("cloud-1")).attach("cloud-1").group == "cloud-1"

    @pytest.mark.parametrize("protocol", [None, "", "3"])
    def test_a_node_of_another_protocol_version_is_refused_with_a_hint(
        self, protocol: str | None
    ) -> None:
        with pytest.raises(ProtocolError, match="scopeway bootstrap") as refused:
            Fleet().source.attach(node("cloud-1", protocol))

        assert refused.value.status == "FAILED_PRECONDITION"

    def test_a_node_with_identity_files_gets_secrets_that_name_them(self) -> None:
        files = {"certificate": "/c", "key": "/k", "authorities": "/a"}
        metadata = {f"scopeway.identity.{name}": file for name, file in files.items()}
        plain = node("cloud-1")
        secure = Node(id="", cluster="cloud-1", metadata={**plain.metadata, **metadata})
        source = Fleet(cloud("cloud-1")).source

        for name in ("identity", "authorities"):
            found = source.attach(secure).resource(SECRET, name)
            assert found is not None
            assert found.name == name
            assert source.attach(plain).resource(SECRET, name) is None
        assert source.attach(secure).resource(SECRET, "front") is not None

    def test_streams_of_one_node_are_limited(self) -> None:
        source = Fleet(cloud("cloud-1"), limits=SourceLimits(streams_per_node=2)).source
        views = [source.attach(node("cloud-1")) for _ in range(2)]
        with pytest.raises(
            ProtocolError, match="node 'cloud-1/0' has 2 streams already"
        ) as refused:
            source.attach(node("cloud-1"))
        other = Node(id="cloud-1/1", cluster="cloud-1", metadata=node("cloud-1").metadata)
        source.attach(other)
        views[0].close()

        assert refused.value.status == "RESOURCE_EXHAUSTED"
        source.attach(node("cloud-1"))

    def test_streams_of_one_cloud_are_limited_whatever_its_nodes_are_called(self) -> None:
        source = Fleet(cloud("cloud-1"), limits=SourceLimits(streams_per_cloud=3)).source
        metadata = node("cloud-1").metadata
        names = [f"cloud-1/{number}" for number in range(4)]
        views = [
            source.attach(Node(id=name, cluster="cloud-1", metadata=metadata)) for name in names[:3]
        ]
        last = Node(id=names[3], cluster="cloud-1", metadata=metadata)
        with pytest.raises(ProtocolError, match="cloud cloud-1 has 3 streams already"):
            source.attach(last)
        source.attach(node("cloud-2"))
        views[1].close()

        source.attach(last)
        assert source.stats().streams == 4

    def test_a_node_without_a_cloud_is_refused(self) -> None:
        with pytest.raises(ProtocolError, match="names no cloud"):
            Fleet().source.attach(Node(id="x", cluster="", metadata={"scopeway.protocol": "1"}))

    def test_a_node_sees_the_resources_of_its_own_site(self) -> None:
        view = Fleet(cloud("cloud-1"), cloud("cloud-2")).attach("cloud-2")

        assert set(view.wildcard(LISTENER)) == {"front", "peer", "front/image"}
        assert set(view.wildcard(CLUSTER)) == {"image@cloud-2"}
        listener = view.resource(LISTENER, "front")
        assert listener is not None
        assert listener.body == b"cloud-2"
        assert view.resource(ROUTE, "nothing") is None

    def test_every_served_type_has_resources(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach()

        assert all(view.wildcard(type_url) for type_url in fleet.source.type_urls())

    def test_envoys_of_one_site_can_have_different_access_logs(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        logs = ("/a", "/b", "/a")
        metadata = [{"scopeway.protocol": "1", "scopeway.access_log": log} for log in logs]
        views = [
            fleet.source.attach(Node(id=f"cloud-1/{n}", cluster="cloud-1", metadata=each))
            for n, each in enumerate(metadata)
        ]
        views[0].close()
        filters = [view.resource(EXTENSION, "lua/front") for view in views[1:]]

        assert [each.body for each in filters if each] == [b"lua /b", b"lua /a"]

    def test_an_envoy_whose_site_cannot_be_made_leaves_no_state(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        with pytest.raises(ValueError, match="cannot be made"):
            fleet.attach("cloud-1", access_log=BROKEN)
        fleet.put(peered("cloud-1"))

        assert fleet.notifier.told == []
        assert fleet.source.stats().streams == 0

    def test_a_failed_attach_does_not_keep_an_idle_site_from_being_forgotten(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), limits=SourceLimits(idle_sites=1))
        fleet.attach("cloud-1").close()
        with pytest.raises(ValueError, match="cannot be made"):
            fleet.attach("cloud-1", access_log=BROKEN)
        fleet.attach("cloud-2").close()
        fleet.put(peered("cloud-1"))

        assert fleet.notifier.told == []


class TestFailingSite:
    def test_a_site_that_cannot_be_made_keeps_its_resources_and_others_are_notified(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        views = {name: fleet.attach(name) for name in ("cloud-1", "cloud-2")}
        had = views["cloud-1"].resource(LISTENER, "front")
        broken = cloud("cloud-1", kind=BROKEN)
        fleet.put(broken, Cloud(name="cloud-2"))

        assert (LISTENER, frozenset({"front/image"}), "cloud-2") in fleet.notifier.told
        assert (LISTENER, None, "cloud-2") in fleet.notifier.told
        assert {group for url, _, group in fleet.notifier.told if url == LISTENER} == {"cloud-2"}
        assert isinstance(views["cloud-1"], KnowsVersions)
        assert had is not None
        assert views["cloud-1"].is_current(LISTENER, "front", had.version)
        assert [vars(one)["cloud"] for one in caplog.records if one.exc_info] == ["cloud-1"]

        fleet.put(cloud("cloud-1", port=1, kind="mended"), cloud("cloud-2"))
        assert (LISTENER, None, "cloud-2") in fleet.notifier.told


class TestUnknownCloud:
    def test_a_site_of_an_unknown_cloud_has_no_listeners_and_only_rejections(self) -> None:
        view = Fleet(cloud("cloud-2")).attach("cloud-1")

        assert not any(view.wildcard(type_url) for type_url in (CLUSTER, LISTENER, ROUTE))
        assert status(view, "image@cloud-2") == "503"

    def test_a_site_gets_all_resources_when_its_cloud_is_registered(self) -> None:
        fleet = Fleet(cloud("cloud-2"))
        view = fleet.attach("cloud-1")
        status(view, "image@cloud-2")

        fleet.put(cloud("cloud-1"))

        assert status(view, "image@cloud-2") is None
        assert set(view.wildcard(LISTENER)) == {"front", "peer", "front/image"}
        assert (CLUSTER, {"image@cloud-2"}, "cloud-1") in fleet.notifier.told
        assert {(type_url, None, "cloud-1") for type_url in fleet.source.type_urls()} <= set(
            fleet.notifier.told
        )

    def test_a_site_loses_all_resources_when_its_cloud_is_deleted(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach("cloud-1")

        fleet.delete("cloud-1")

        assert not view.wildcard(LISTENER)
        assert (LISTENER, None, "cloud-1") in fleet.notifier.told


class TestTargets:
    def test_a_malformed_target_name_gets_a_rejection(self) -> None:
        """A removal would make each further request for the name wait."""
        view = Fleet(cloud("cloud-1")).attach()

        assert status(view, "image@cloud-1|") == "400"
        assert status(view, "nonsense") == "400"
        assert status(view, "image@cloud-9") == "404"

    def test_nodes_with_equal_views_share_the_bytes_of_a_cluster(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), cloud("cloud-3"))
        first = fleet.attach("cloud-1").resource(CLUSTER, "image@cloud-3")
        second = fleet.attach("cloud-2").resource(CLUSTER, "image@cloud-3")

        assert first is not None
        assert first is second
        assert fleet.source.stats().compiled == 1

    def test_each_caller_is_judged_by_the_rules_of_the_target(self) -> None:
        fleet = Fleet(cloud("cloud-1"), Cloud(name="stranger"), cloud("cloud-3"))

        assert status(fleet.attach("cloud-1"), "image@cloud-3") is None
        assert status(fleet.attach("stranger"), "image@cloud-3") == "403"

    @pytest.mark.parametrize(
        ("name", "counted"),
        [
            ("image@cloud-9|cloud-2", {"unknown": 1}),
            ("image@[tier=edge]", {"policy": 1}),
            ("image@cloud-9|cloud-8", {"unknown": 1}),
            ("image@cloud-9", {}),
            ("image@closed", {}),
            ("image@cloud-2", {}),
        ],
    )
    def test_skipped_clouds_are_counted_except_the_one_that_the_answer_names(
        self, name: str, counted: Mapping[str, int]
    ) -> None:
        closed = replace(cloud("closed", tier="edge"), accept=())
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2", tier="edge"), closed)
        fleet.attach().resource(CLUSTER, name)

        assert fleet.source.stats().skipped == counted

    def test_the_time_to_answer_a_target_is_counted_in_its_bucket(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        labels = ",".join(f"k{number}=v" for number in range(60))  # some ms to read
        fleet.attach().resource(CLUSTER, f"image@[{labels}]")
        stats = fleet.source.stats()

        assert sum(stats.answers) == sum(stats.answers[1:]) == 1
        assert stats.answer_seconds > ANSWER_BOUNDS[0]


@pytest.mark.parametrize("protocol", [EARLIER, PROTOCOL])
@pytest.mark.parametrize("names", [("a.test",), ("a.test", "b.test"), ("127.0.0.1",)])
def test_a_cluster_that_waits_for_dns_is_sent_after_the_listeners(
    names: tuple[str, ...], protocol: str
) -> None:
    """An Envoy with listeners of an earlier version knows no clusters that don't wait."""
    endpoints = tuple(Endpoint(address=name, port=80) for name in names)
    home = Cloud(name="cloud-1", services={"image": Service(endpoints=endpoints)})
    asking = node("cloud-1", protocol)

    found = Fleet(home).source.attach(asking).resource(CLUSTER, "image@cloud-1")

    assert found is not None
    waits = "envoy.cluster.dns" in found.body.decode(errors="replace")
    assert waits == (names[0] == "a.test" and (len(names) > 1 or protocol == EARLIER))
    assert found.after == (LISTENER if waits else None)


def test_an_earlier_envoy_switches_its_whole_site_to_the_earlier_policy_format() -> None:
    fleet = Fleet(peered("cloud-1", ANYBODY), cloud("cloud-2"))
    first = fleet.attach("cloud-1")
    before = first.resource(ROUTE, "peer")
    fleet.notifier.told.clear()

    earlier = fleet.source.attach(node("cloud-1", EARLIER))

    assert fleet.notifier.told == [(ROUTE, {"peer"}, "cloud-1")]
    now = earlier.resource(ROUTE, "peer")
    assert before is not None
    assert now is not None
    assert first.resource(ROUTE, "peer") is now
    assert [b"classes" in each.body for each in (before, now)] == [True, False]


class TestUpdate:
    def test_a_change_of_an_unused_cloud_notifies_nobody(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        fleet.attach().resource(CLUSTER, "image@cloud-2")

        fleet.put(cloud("cloud-3"))

        assert fleet.notifier.told == []

    def test_a_rejected_target_works_when_its_cloud_is_registered(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach()
        assert status(view, "image@cloud-2") == "404"

        fleet.put(cloud("cloud-2"))

        assert fleet.notifier.told == [(CLUSTER, {"image@cloud-2"}, "cloud-1")]
        assert status(view, "image@cloud-2") is None

    def test_a_changed_cloud_notifies_the_targets_that_depend_on_it(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), cloud("cloud-3", region="eu"))
        view = fleet.attach()
        names = ["image@cloud-2", "image@cloud-3", "image@cloud-3|cloud-1", "image@[region=eu]"]
        before = {name: view.resource(CLUSTER, name) for name in names}

        fleet.put(cloud("cloud-3", port=1, region="eu"))

        assert fleet.notifier.told == [(CLUSTER, set(names[1:]), "cloud-1")]
        changed = {name for name in names if view.resource(CLUSTER, name) != before[name]}
        assert changed == {"image@cloud-3"}, "all others lead there"

    def test_a_change_of_another_cloud_changes_clusters_only(self) -> None:
        """No listener, route or filter changes where another cloud comes, changes or goes."""
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        fleet.attach("cloud-1").resource(CLUSTER, "image@cloud-2")

        fleet.put(cloud("cloud-2", port=1))
        fleet.delete("cloud-2")

        assert {type_url for type_url, _, _ in fleet.notifier.told} == {CLUSTER}

    def test_changed_labels_of_a_cloud_notify_all_targets_of_its_site(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        view = fleet.attach("cloud-1")
        assert status(view, "image@cloud-2") is None

        fleet.put(cloud("cloud-1", fleet="other"))

        assert fleet.notifier.told == [(CLUSTER, {"image@cloud-2"}, "cloud-1")]
        assert status(view, "image@cloud-2") == "403"

    def test_a_site_is_notified_of_its_new_service(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach("cloud-1")
        more = Service(endpoints=(Endpoint(address="127.0.0.1", port=9696),))
        home = cloud("cloud-1")

        fleet.put(
            Cloud(
                name=home.name,
                labels=home.labels,
                accept=home.accept,
                services={**home.services, "network": more},
            )
        )

        assert fleet.notifier.told == [
            (CLUSTER, None, "cloud-1"),
            (LISTENER, {"front/network"}, "cloud-1"),
            (LISTENER, None, "cloud-1"),
        ]
        assert set(view.wildcard(CLUSTER)) == {"image@cloud-1", "network@cloud-1"}

    def test_a_site_with_unchanged_bytes_is_not_notified(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        fleet.attach("cloud-1")

        fleet.put(cloud("cloud-1", port=1))

        assert fleet.notifier.told == []

    def test_a_cloud_that_changes_faster_than_its_site_can_be_made_is_refused(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        ports = itertools.count(1)
        steps = (
            fleet.put(cloud("cloud-1", port=next(ports)))
            for _ in fleet.source.prepare(node("cloud-1"))
        )
        with pytest.raises(ProtocolError, match="cloud cloud-1 changes so often"):
            list(steps)

        fleet.attach("cloud-1")

    def test_a_change_during_the_making_of_a_site_is_included(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        for count, _ in enumerate(fleet.source.prepare(node("cloud-1"))):
            if not count:
                changed = cloud("cloud-1")
                fleet.put(replace(changed, services={"network": changed.services["image"]}))
        view = fleet.attach("cloud-1")

        assert view.wildcard(LISTENER) == {"front", "peer", "front/network"}

    def test_a_changed_listener_notifies_its_site_only(self) -> None:
        bodies = {LISTENER: {"front": b"1"}}
        fleet = Fleet(cloud("cloud-1"))
        fleet.source = ScopewaySource(
            inventory=fleet.inventory,
            notifier=fleet.notifier,
            make_site=lambda *_: one_by_one(bodies),
            settings=PlanSettings(),
        )
        fleet.attach("cloud-1")
        bodies = {LISTENER: {"front": b"2"}}

        fleet.put(cloud("cloud-1", port=1))

        assert fleet.notifier.told == [(LISTENER, {"front"}, "cloud-1")]


class TestMutualTls:
    IDENTITY: ClassVar = {
        f"scopeway.identity.{file}": f"/etc/{file}"
        for file in ("certificate", "key", "authorities")
    }

    def attach(self, metadata: Mapping[str, str]) -> NodeView:
        source = ScopewaySource(
            inventory=Inventory(),
            notifier=Recorder(),
            make_site=site,
            settings=PlanSettings(trust_domain="fleet.test"),
        )
        attached = {"scopeway.protocol": "1", **metadata}
        return source.attach(Node(id="cloud-1/envoy", cluster="cloud-1", metadata=attached))

    def test_an_envoy_that_names_its_certificate_files_is_attached(self) -> None:
        view = self.attach(self.IDENTITY)

        assert view.group == "cloud-1"
        assert view.resource(SECRET, "identity") is not None

    @pytest.mark.parametrize("missing", [None, *IDENTITY])
    def test_an_envoy_that_does_not_name_its_certificate_files_is_refused_at_once(
        self, missing: str | None
    ) -> None:
        """Otherwise, clusters of other sites would wait for them, and requests would time out."""
        given = {name: file for name, file in self.IDENTITY.items() if missing not in (None, name)}

        with pytest.raises(ProtocolError, match="names no files of its certificate"):
            self.attach(given)


class TestPolicies:
    """The routes of a peer, which hold the policy."""

    def test_added_labels_notify_the_peers_whose_rules_select_them(self) -> None:
        fleet = Fleet(
            peered("cloud-1", CloudPattern(labels={"tier": "edge"})),
            peered("cloud-2", CloudPattern(name="cloud-9")),
        )
        one, two = fleet.attach("cloud-1"), fleet.attach("cloud-2")
        before = one.resource(ROUTE, "peer"), two.resource(ROUTE, "peer")
        assert before[0] is not None
        assert b"cloud-9" not in before[0].body

        fleet.put(Cloud(name="cloud-9", labels={"tier": "edge"}))

        assert fleet.notifier.told == [(ROUTE, {"peer"}, "cloud-1")]
        after = one.resource(ROUTE, "peer"), two.resource(ROUTE, "peer")
        assert after[0] is not None
        assert b"cloud-9" in after[0].body
        assert after[1] is before[1]

    def test_changed_rules_notify_their_own_site(self) -> None:
        fleet = Fleet(peered("cloud-1", CloudPattern(name="cloud-2")))
        view = fleet.attach("cloud-1")

        fleet.put(peered("cloud-1", CloudPattern(name="cloud-3")))

        assert (ROUTE, {"peer"}, "cloud-1") in fleet.notifier.told
        resource = view.resource(ROUTE, "peer")
        assert resource is not None
        assert b"cloud-3" in resource.body

    def test_a_registered_cloud_brings_its_policy(self) -> None:
        fleet = Fleet()
        view = fleet.attach("cloud-1")
        assert view.resource(ROUTE, "peer") is None

        fleet.put(peered("cloud-1"))

        assert (ROUTE, {"peer"}, "cloud-1") in fleet.notifier.told
        assert view.resource(ROUTE, "peer") is not None

    def test_a_policy_of_a_forgotten_site_notifies_nobody(self) -> None:
        fleet = Fleet(peered("cloud-1", ANYBODY), limits=SourceLimits(idle_sites=0))
        fleet.attach("cloud-1").close()

        fleet.put(Cloud(name="cloud-9", labels={"fleet": "f"}))

        assert fleet.notifier.told == []
