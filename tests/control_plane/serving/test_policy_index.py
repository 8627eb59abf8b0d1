"""Which peers' policies a change concerns."""

from collections.abc import Callable, Mapping

import pytest

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

    def __init__(self, *clouds: Cloud, timer: "Clock | None" = None) -> None:
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


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], None]) -> None:
        self.calls.append((self.now + delay, callback))

    def advance(self, seconds: float) -> None:
        self.now += seconds
        due = [each for each in self.calls if each[0] <= self.now]
        self.calls = [each for each in self.calls if each[0] > self.now]
        for _, callback in due:
            callback()


def test_sites_with_equal_policies_share_one_and_it_is_compiled_when_it_is_asked_for() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), cloud("c", "a"))
    assert policies.compiled == []

    assert policies.routes("a") is policies.routes("b") is not policies.routes("c")
    assert len(policies.compiled) == 2


def test_a_site_that_an_earlier_envoy_has_joined_waits_with_no_routes_that_are_not_for_it() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), timer=clock)
    policies.takes = 1.0
    before = policies.routes("a")

    assert policies.set("a", cloud("a", EDGE), earlier=True)
    assert not policies.set("a", cloud("a", EDGE), earlier=True)
    assert policies.routes("a") is not before
    assert policies.routes("b") is before
    assert len(policies.compiled) == 2


def test_a_policy_that_replaces_one_in_the_making_is_made_in_steps_as_well() -> None:
    policies = Counting(cloud("a", EDGE))
    steps = policies.prepare("a")
    next(steps)
    policies.set("a", cloud("a", EU_EDGE))

    assert len(list(steps)) >= 4
    assert len(policies.compiled) == 2
    assert policies.routes("a") is not None
    assert len(policies.compiled) == 2


def test_a_cloud_without_a_peer_has_none() -> None:
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
def test_labels_that_come_or_go_concern_the_policies_that_select_them(
    old: Cloud | None, new: Cloud | None, sites: set[str]
) -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EU_EDGE), cloud("c", "x"))
    before = {name: policies.routes(name) for name in "abc"}

    assert set(change(policies, old, new)) == sites
    assert {name for name in "abc" if policies.routes(name) is not before[name]} == sites


def test_a_policy_that_changes_is_another_one() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE))
    before = policies.routes("a")

    assert not policies.set("a", cloud("a", EDGE, labels={"tier": "core"}))
    assert policies.set("a", cloud("a", "b"))
    assert policies.routes("a") is not before
    assert policies.routes("b") is before


def test_what_no_site_uses_is_forgotten() -> None:
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


def test_a_policy_that_takes_long_rests_and_many_changes_are_one() -> None:
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


def test_a_site_does_not_escape_the_rest_by_other_rules() -> None:
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


def test_a_site_that_comes_meanwhile_gets_its_own_policy_and_not_that_of_another() -> None:
    """Before, it got the one that a site with equal rules had had before."""
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


def test_who_got_the_one_before_is_told_also_where_another_site_was_quicker_to_ask() -> None:
    """Before, it kept the old one until the next change."""
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


def test_a_quick_one_is_compiled_at_each_change_and_other_sites_wait_for_nobody() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), cloud("b", EU_EDGE), timer=clock)
    policies.takes = 0.01
    policies.routes("a")
    policies.takes = 0.001
    for number in range(5):
        change(policies, None, cloud(f"x-{number}", labels=LABELS))
        policies.routes("b")

    assert len(policies.compiled) == 6


def test_sites_that_ask_at_a_time_share_the_steps_of_one_compilation() -> None:
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


def test_what_changes_while_a_policy_is_compiled_is_compiled_after_a_rest() -> None:
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


def test_a_compilation_that_nobody_waits_for_any_more_is_given_up() -> None:
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


def test_what_rests_and_is_left_by_its_sites_is_not_told() -> None:
    clock = Clock()
    policies = Counting(cloud("a", EDGE), timer=clock)
    policies.takes = 0.01
    policies.routes("a")
    change(policies, None, labelled(1))
    policies.routes("a")
    policies.set("a", None)
    clock.advance(10)

    assert policies.told == []


def test_who_has_a_policy_that_is_too_large_is_known(caplog: pytest.LogCaptureFixture) -> None:
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
