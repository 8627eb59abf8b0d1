"""What the source remembers of sites whose Envoys have left, and what is still current."""

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from harness.source import Fleet, cloud, node, status
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.site_state import IdleSites
from scopeway.xds.source import KnowsVersions, Node, NodeView
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET


def version(view: NodeView, type_url: str, name: str) -> str:
    resource = view.resource(type_url, name)
    assert resource is not None
    return resource.version


def is_current(view: NodeView, type_url: str, name: str, version: str) -> bool:
    assert isinstance(view, KnowsVersions)
    return view.is_current(type_url, name, version)


class TestClosedStreams:
    def test_a_target_is_in_use_only_while_a_stream_uses_it(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), limits=SourceLimits(idle_sites=0))
        first, second = fleet.attach(), fleet.attach()
        for view in (first, second):
            view.resource(CLUSTER, "image@cloud-2")
            view.resource(CLUSTER, "not a target")

        first.close()
        fleet.put(cloud("cloud-2", port=1))
        assert fleet.notifier.told == [(CLUSTER, {"image@cloud-2"}, "cloud-1")]
        assert fleet.source.stats().streams == 1
        second.close()
        fleet.put(cloud("cloud-2", port=2), cloud("cloud-1", port=2))

        assert fleet.notifier.told == []
        stats = fleet.source.stats()
        assert (stats.streams, stats.targets) == (0, 0)

    def test_targets_used_only_by_a_closed_stream_are_forgotten_while_others_stay_open(
        self,
    ) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), cloud("cloud-3"))
        first, second = fleet.attach(), fleet.attach()
        first.resource(CLUSTER, "image@cloud-2")
        second.resource(CLUSTER, "image@cloud-3")

        first.close()

        assert fleet.source.stats().targets == 1

    def test_remembered_targets_that_a_returning_stream_does_not_use_are_forgotten_when_it_closes(
        self,
    ) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), cloud("cloud-3"))
        view = fleet.attach()
        view.resource(CLUSTER, "image@cloud-2")
        view.close()
        view = fleet.attach()
        view.resource(CLUSTER, "image@cloud-3")
        both = fleet.source.stats().targets
        view.close()

        assert (both, fleet.source.stats().targets) == (2, 1)

    def test_the_site_that_left_first_is_forgotten_first(self) -> None:
        clouds = [cloud(f"cloud-{number}") for number in range(4)]
        fleet = Fleet(*clouds, limits=SourceLimits(idle_sites=2))
        views = [fleet.attach(f"cloud-{number}") for number in range(3)]
        known = [version(view, CLUSTER, "image@cloud-3") for view in views]
        for number in (1, 0, 2):
            views[number].close()
        views = [fleet.attach(f"cloud-{number}") for number in range(3)]

        assert [
            is_current(view, CLUSTER, "image@cloud-3", each)
            for view, each in zip(views, known, strict=True)
        ] == [True, False, True]

    def test_a_forgotten_site_leaves_no_resources_behind(self) -> None:
        """Resources made at a change of its cloud were once served for ever."""
        clouds = [cloud(f"cloud-{number}") for number in range(2)]
        fleet = Fleet(*clouds, limits=SourceLimits(idle_sites=1))
        fleet.attach("cloud-0").close()
        fleet.put(cloud("cloud-0", port=1))
        fleet.attach("cloud-1").close()
        fleet.delete("cloud-0")

        assert fleet.attach("cloud-0").resource(LISTENER, "front") is None

    @pytest.mark.parametrize(("targets", "forgotten"), [(5, []), (4, ["a"]), (2, ["a", "b"])])
    def test_remembered_targets_of_all_idle_sites_are_limited(
        self, targets: int, forgotten: list[str]
    ) -> None:
        idle = IdleSites(sites=10, targets=targets)
        gone = [
            name for site, used in (("a", 1), ("b", 2), ("c", 2)) for name in idle.add(site, used)
        ]

        assert gone == forgotten

    def test_remembered_targets_of_one_idle_site_are_limited(self) -> None:
        clouds = [cloud(f"cloud-{number}") for number in range(3)]
        fleet = Fleet(*clouds, limits=SourceLimits(idle_targets=3))
        for number in range(2):
            view = fleet.attach(f"cloud-{number}")
            for other in range(2):
                view.resource(CLUSTER, f"image@cloud-{other}|cloud-{number}")
            view.close()

        assert fleet.source.stats().targets == 2


class TestReturningStreams:
    def test_a_returning_stream_counts_as_activity(self) -> None:
        """Otherwise, no memory would be returned after all streams have reconnected."""
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach()
        before = fleet.source.activity()
        view.close()
        fleet.attach()

        assert fleet.source.activity() != before

    @pytest.mark.parametrize(
        ("type_url", "name"),
        [
            (CLUSTER, "image@cloud-2"),
            (LISTENER, "front"),
            (LISTENER, "peer"),
            (ROUTE, "front"),
            (SECRET, "front"),
            (EXTENSION, "lua/front"),
        ],
    )
    def test_a_resource_that_a_returning_envoy_has_is_current(
        self, type_url: str, name: str
    ) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        view = fleet.attach()
        had = version(view, type_url, name)
        compiled = fleet.source.stats().compiled
        view.close()
        back = fleet.attach()

        assert is_current(back, type_url, name, had)
        assert not is_current(back, type_url, name, "another")
        assert not is_current(back, type_url, "another", had)
        assert fleet.source.stats().compiled == compiled
        assert version(back, type_url, name) == had

    @pytest.mark.parametrize("name", ["image@cloud-2", "image@[fleet=f]", "image@cloud-9|cloud-2"])
    def test_a_cluster_is_not_current_if_its_cloud_changed_during_the_absence(
        self, name: str
    ) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        view = fleet.attach()
        had = version(view, CLUSTER, name)
        view.close()
        fleet.put(cloud("cloud-2", port=1))
        back = fleet.attach()

        assert not is_current(back, CLUSTER, name, had)

    def test_resources_of_a_returning_site_are_not_cached(self) -> None:
        """85 kB each; only who comes for the first time is about to ask for all of it."""
        fleet = Fleet(cloud("cloud-1"))
        fleet.attach().close()
        fleet.put(cloud("cloud-1", port=1))
        fleet.attach().resource(LISTENER, "front")

        assert not fleet.source._site_resources._cache._fresh

    def test_a_cluster_is_not_current_if_the_own_cloud_became_another_caller(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"))
        view = fleet.attach()
        had = version(view, CLUSTER, "image@cloud-2")
        view.close()
        fleet.put(Cloud(name="cloud-1"))
        back = fleet.attach()

        assert not is_current(back, CLUSTER, "image@cloud-2", had)
        assert status(back, "image@cloud-2") == "403"

    def test_a_current_target_is_in_use_and_counts_towards_the_limit(self) -> None:
        fleet = Fleet(cloud("cloud-1"), cloud("cloud-2"), limits=SourceLimits(targets=1))
        view = fleet.attach()
        had = version(view, CLUSTER, "image@cloud-2")
        view.close()
        back = fleet.attach()
        assert is_current(back, CLUSTER, "image@cloud-2", had)
        fleet.put(cloud("cloud-2", port=1))

        assert fleet.notifier.told == [(CLUSTER, {"image@cloud-2"}, "cloud-1")]
        assert back.resource(CLUSTER, "image@cloud-1") is None, "it is one too many"

    def test_a_target_beyond_the_limit_is_not_current(self) -> None:
        fleet = Fleet(
            cloud("cloud-1"), cloud("cloud-2"), cloud("cloud-3"), limits=SourceLimits(targets=1)
        )
        view = fleet.attach()
        had = version(view, CLUSTER, "image@cloud-2")
        view.close()
        back = fleet.attach()
        back.resource(CLUSTER, "image@cloud-3")

        assert not is_current(back, CLUSTER, "image@cloud-2", had)

    def test_a_current_rejection_is_in_use_and_counts_towards_the_limit(self) -> None:
        fleet = Fleet(cloud("cloud-1"), limits=SourceLimits(negative=1))
        one, other = fleet.attach(), fleet.attach()
        answers = [one.resource(CLUSTER, f"image@cloud-{number}") for number in (2, 3)]
        assert [each is not None for each in answers] == [True, False]
        fleet.put(cloud("cloud-2"), cloud("cloud-3"))
        for name in ("image@cloud-2", "image@cloud-3"):
            assert is_current(one, CLUSTER, name, version(other, CLUSTER, name))

        assert status(one, "image@cloud-9") == "404", "there is room again"
        fleet.delete("cloud-3")
        assert status(one, "image@cloud-3") == "404", "it is told why"

    def test_a_rejection_is_never_current(self) -> None:
        """So the rejections of each stream are counted."""
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach()
        had = version(view, CLUSTER, "image@cloud-9")

        assert not is_current(view, CLUSTER, "image@cloud-9", had)
        assert not is_current(view, CLUSTER, "image@cloud-9", "")

    def test_filters_are_not_current_for_an_envoy_with_another_access_log(self) -> None:
        fleet = Fleet(cloud("cloud-1"))
        view = fleet.attach()
        had = version(view, EXTENSION, "lua/front")
        view.close()
        metadata = {**node("cloud-1").metadata, "scopeway.access_log": "/log"}
        back = fleet.source.attach(Node(id="cloud-1/0", cluster="cloud-1", metadata=metadata))

        assert not is_current(back, EXTENSION, "lua/front", had)
        assert version(back, EXTENSION, "lua/front") != had


NAMES = ("cloud-1", "cloud-2", "cloud-3")
TARGETS = (
    *("image@cloud-1", "image@cloud-2|cloud-3", "image@local", "image@[tier=a]", "image@cloud-3"),
    *("identity.validate@cloud-2", "nonsense"),
)
PORTS, TIERS = st.integers(1, 3), st.sampled_from(["a", "b"])
SITE = ((LISTENER, "front"), (ROUTE, "front"), (EXTENSION, "lua/front"), (ROUTE, "peer"))


class Memory(RuleBasedStateMachine):
    """Whatever comes, goes and changes: what is said to be current is what would be made."""

    def __init__(self) -> None:
        super().__init__()
        limits = SourceLimits(targets=4, negative=1, idle_sites=2, idle_targets=5)
        self.fleet = Fleet(*map(cloud, NAMES), limits=limits)
        self.views: list[NodeView] = []
        self.seen: dict[tuple[str, str], set[str]] = {}

    @precondition(lambda self: len(self.views) < 4)
    @rule(name=st.sampled_from(NAMES))
    def come(self, name: str) -> None:
        self.views.append(self.fleet.attach(name))

    @precondition(lambda self: self.views)
    @rule(data=st.data(), what=st.sampled_from([*((CLUSTER, name) for name in TARGETS), *SITE]))
    def look(self, data: Any, what: tuple[str, str]) -> None:
        resource = data.draw(st.sampled_from(self.views)).resource(*what)
        if resource is not None:
            self.seen.setdefault(what, set()).add(resource.version)

    @precondition(lambda self: self.views)
    @rule(data=st.data())
    def leave(self, data: Any) -> None:
        self.views.pop(data.draw(st.integers(0, len(self.views) - 1))).close()

    @rule(name=st.sampled_from(NAMES), port=PORTS, tier=TIERS)
    def put(self, name: str, port: int, tier: str) -> None:
        self.fleet.put(cloud(name, port, tier=tier))

    @rule(name=st.sampled_from(NAMES))
    def stranger(self, name: str) -> None:
        self.fleet.put(Cloud(name=name))

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        self.fleet.delete(name)

    @rule(name=st.sampled_from(NAMES), why=st.sampled_from([None, "why"]))
    def cordon(self, name: str, why: str | None) -> None:
        self.fleet.cordon({name: why})

    @invariant()
    def what_is_current_is_what_would_be_made(self) -> None:
        for view in self.views:
            for (type_url, name), versions in self.seen.items():
                for each in versions:
                    if is_current(view, type_url, name, each):
                        assert version(view, type_url, name) == each

    def teardown(self) -> None:
        for view in self.views:
            view.close()
        assert self.fleet.source.stats().streams == 0
        assert self.fleet.source.stats().targets <= 5


TestMemory = Memory.TestCase
