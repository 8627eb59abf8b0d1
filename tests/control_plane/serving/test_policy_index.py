"""Which peer policies a change concerns, and when they are compiled."""

from collections.abc import Mapping

import pytest

from harness.clock import Clock
from scopeway.control_plane.clouds.model import AcceptRule, Cloud, CloudPattern, Peer
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.serving.policy_index import LONGEST_REST, REST, PolicyIndex
from scopeway.control_plane.translator.routes import PeerRoutes
from scopeway.xds.steps import Steps

EDGE = CloudPattern(labels={"tier": "edge"})
EU_EDGE = CloudPattern(labels={"region": "eu", "tier": "edge"})


def cloud(
    name: str,
    *accepted: CloudPattern | str,
    labels: Mapping[str, str] | None = None,
    peer: bool = True,
) -> Cloud:
    patterns = tuple(
        CloudPattern(name=each) if isinstance(each, str) else each for each in accepted
    )
    return Cloud(
        name=name,
        labels=labels or {},
        peer=Peer(address="127.0.0.1", port=1) if peer else None,
        accept=(AcceptRule(clouds=patterns),) if patterns else (),
    )


def change(policies: PolicyIndex, old: Cloud | None, new: Cloud | None) -> set[str]:
    """Return the sites that a change of one cloud concerns."""
    return set().union(*policies.change([(old, new)]))


class Counting(PolicyIndex):
    """Counts what is compiled."""

    takes = 0.0
    """Seconds."""
    problem: str | None = None

    def __init__(self, *clouds: Cloud, timer: Clock | None = None) -> None:
        super().__init__(self._count, lambda sites: self.told.append(list(sites)), timer)
        self.told: list[list[str]] = []
        self.compiled: list[Policy] = []
        for each in clouds:
            self.set(each.name, each)

    def _count(self, policy: Policy, earlier: bool) -> Steps[PeerRoutes]:
        self.compiled.append(policy)
        for _ in range(4):
            if isinstance(self._timer, Clock):
                self._timer.now += self.takes / 4
            yield
        return PeerRoutes(str(len(self.compiled)).encode(), self.problem)


def test_sites_with_equal_rules_share_one_policy_compiled_on_demand() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), cloud("c", "a"))
    assert policies.compiled == []

    assert policies.routes("a") is policies.routes("b") is not policies.routes("c")
    assert len(policies.compiled) == 2


def test_a_site_with_an_earlier_envoy_waits_without_routes_of_the_wrong_format() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), timer=clock)
    policies.takes = 1.0
    before = policies.routes("a")

    assert policies.set("a", cloud("a", EDGE), earlier=True)
    assert not policies.set("a", cloud("a", EDGE), earlier=True)
    assert policies.routes("a") is not before
    assert policies.routes("b") is before
    assert len(policies.compiled) == 2


def test_a_policy_replaced_during_its_compilation_is_compiled_in_steps() -> None:
    policies = Counting(cloud("a", EDGE))
    steps = policies.prepare("a")
    next(steps)
    policies.set("a", cloud("a", EU_EDGE))

    assert len(list(steps)) >= 4
    assert len(policies.compiled) == 2
    assert policies.routes("a") is not None
    assert len(policies.compiled) == 2


def test_a_cloud_without_a_peer_has_no_policy() -> None:
    policies = Counting(cloud("a", EDGE, peer=False))

    assert policies.routes("a") is None
    assert policies.routes("unknown") is None


LABELS = {"tier": "edge", "region": "eu"}


@pytest.mark.parametrize(
    ("old", "new", "sites"),
    [
        (None, cloud("x", labels={"tier": "edge"}), {"a"}),
        (cloud("x", labels={"tier": "edge"}), None, {"a"}),
        (cloud("x", labels={"tier": "edge"}), cloud("x", labels=LABELS), {"a", "b"}),
        (cloud("x", labels={"tier": "core"}), cloud("x", labels={"tier": "edge"}), {"a"}),
        (cloud("x", labels=LABELS), cloud("x", "y", labels=LABELS), set()),
        (None, cloud("x", labels={"tier": "core"}), set()),
        (None, cloud("x"), set()),
    ],
)
def test_a_change_of_labels_concerns_the_policies_that_select_them(
    old: Cloud | None, new: Cloud | None, sites: set[str]
) -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EU_EDGE), cloud("c", "x"))
    before = {name: policies.routes(name) for name in "abc"}

    assert set(change(policies, old, new)) == sites
    assert {name for name in "abc" if policies.routes(name) is not before[name]} == sites


def test_changed_rules_give_another_policy() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE))
    before = policies.routes("a")

    assert not policies.set("a", cloud("a", EDGE, labels={"tier": "core"}))
    assert policies.set("a", cloud("a", "b"))
    assert policies.routes("a") is not before
    assert policies.routes("b") is before


def test_a_policy_that_no_site_uses_is_forgotten() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EU_EDGE))
    policies.set("a", None)
    policies.set("b", None)

    assert set(change(policies, None, cloud("x", labels=LABELS))) == set()
    assert not policies._in_use
    assert not policies._selectors._by_label
    assert not len(policies._selectors)
    assert not policies.set("a", None)


def labelled(number: int) -> Cloud:
    return cloud(f"x-{number}", labels={"tier": "edge"})


def test_an_expensive_policy_rests_and_combines_many_changes() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 0.01
    first = policies.routes("a")
    for number in range(10):
        assert set(change(policies, None, labelled(number))) == {"a"}
        assert policies.routes("a") is first
    assert len(policies.compiled) == 1
    assert policies.told == []

    clock.advance(REST * 0.01 + 0.001)
    assert policies.told == [["a"]]
    assert policies.routes("a") is not first
    assert len(policies.compiled) == 2
    clock.advance(10)
    assert policies.told == [["a"]]


def test_a_site_does_not_escape_the_rest_by_changing_its_rules() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 0.01
    first = policies.routes("a")
    for pattern in (EU_EDGE, EDGE, EU_EDGE):
        assert policies.set("a", cloud("a", pattern))
        assert policies.routes("a") is first
    clock.advance(REST * 0.01 + 0.001)

    assert policies.told[-1] == ["a"]
    assert policies.routes("a") is not first
    assert len(policies.compiled) == 2


def test_a_site_added_during_a_rest_gets_the_policy_of_its_own_rules() -> None:
    """It once got the former policy of a site whose rules had become equal."""
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 0.01
    first = policies.routes("a")
    policies.set("a", cloud("a", EU_EDGE))
    assert policies.routes("a") is first
    policies.set("b", cloud("b", EU_EDGE))

    assert policies.routes("b") is not first
    assert [policy.rules[0].selectors for policy in policies.compiled] == [
        ((("tier", "edge"),),),
        ((("region", "eu"), ("tier", "edge")),),
    ]
    assert policies.routes("a") is policies.routes("b")
    clock.advance(1)
    assert policies.told == [["a", "b"]]


def test_a_site_with_the_former_policy_is_notified_although_another_site_asked_first() -> None:
    """It once kept the former policy until the next change."""
    clock = Clock()
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), timer=clock)
    policies.takes = 0.01
    first = policies.routes("a")
    change(policies, None, labelled(1))
    assert policies.routes("a") is first
    clock.now += REST * 0.01 + 0.001  # the loop has not called back yet
    assert policies.routes("b") is not first
    clock.advance(0)

    assert policies.told == [["a", "b"]]


def test_a_policy_rests_for_half_a_second_at_most() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 10.0  # the machine stood still
    first = policies.routes("a")
    change(policies, None, labelled(1))
    assert policies.routes("a") is first
    clock.advance(LONGEST_REST)

    assert policies.told == [["a"]]
    assert policies.routes("a") is not first


def test_a_cheap_policy_is_compiled_at_each_change_without_delaying_other_sites() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), cloud("b", EU_EDGE), timer=clock)
    policies.takes = 0.01
    policies.routes("a")
    policies.takes = 0.001
    for number in range(5):
        change(policies, None, cloud(f"x-{number}", labels=LABELS))
        policies.routes("b")

    assert len(policies.compiled) == 6


def test_sites_that_ask_at_the_same_time_share_one_compilation() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), timer=clock)
    policies.takes = 0.01
    first, second = policies.prepare("a"), policies.prepare("b")
    steps = 0
    for _ in zip(first, second, strict=False):
        steps += 2
        clock.now += 5  # others have their turn

    assert len(policies.compiled) == 1
    assert steps <= 6
    assert policies.routes("a") is policies.routes("b")
    assert len(policies.compiled) == 1
    change(policies, None, cloud("x", labels=LABELS))
    policies.routes("a")
    clock.advance(0.01 * REST - 0.001)  # a rest for what it took itself, and no longer
    policies.routes("a")
    assert len(policies.compiled) == 1
    clock.advance(0.002)
    policies.routes("a")
    assert len(policies.compiled) == 2


def test_a_change_during_a_compilation_is_compiled_after_a_rest() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 0.01
    steps = policies.prepare("a")
    next(steps)
    change(policies, None, cloud("x", labels=LABELS))
    list(steps)
    first = policies.routes("a")
    assert first is not None
    assert len(policies.compiled) == 1

    clock.advance(1)
    assert policies.told == [["a"]]
    assert policies.routes("a") is not first


def test_a_compilation_that_no_site_waits_for_is_cancelled() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE))
    first, second = policies.prepare("a"), policies.prepare("b")
    next(first)
    next(second)
    first.close()
    list(second)
    assert len(policies.compiled) == 1

    change(policies, None, cloud("x", labels=LABELS))
    third = policies.prepare("a")
    next(third)
    third.close()
    assert policies.routes("a") is not None
    assert len(policies.compiled) == 3


def test_a_resting_policy_without_sites_notifies_nobody() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 0.01
    policies.routes("a")
    change(policies, None, labelled(1))
    policies.routes("a")
    policies.set("a", None)
    clock.advance(10)

    assert policies.told == []


def test_sites_whose_policy_is_too_large_are_listed_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), cloud("c", "x"))
    policies.routes("c")
    policies.problem = "it is too large"
    policies.routes("a")
    policies.routes("b")
    assert policies.problems == {"a": "it is too large", "b": "it is too large"}
    assert [record.message for record in caplog.records] == [
        "policy too large to enforce, denying all callers: it is too large"
    ]

    policies.problem = None
    change(policies, None, labelled(1))
    policies.routes("a")
    assert policies.problems == {}
