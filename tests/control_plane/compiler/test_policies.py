"""Which peers' policies a change concerns."""

from collections.abc import Mapping

import pytest

from control_plane.clouds.model import AcceptRule, Cloud, CloudPattern, Peer
from control_plane.clouds.policy import Policy
from control_plane.compiler.policies import Policies

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


class Counting(Policies):
    """Counts what is compiled."""

    def __init__(self, *clouds: Cloud) -> None:
        super().__init__(self._count)
        self.compiled: list[Policy] = []
        for each in clouds:
            self.set(each.name, each)

    def _count(self, policy: Policy) -> bytes:
        self.compiled.append(policy)
        return str(len(self.compiled)).encode()


def test_sites_with_equal_policies_share_one_and_it_is_compiled_when_it_is_asked_for() -> None:
    policies = Counting(cloud("a", EDGE), cloud("b", EDGE), cloud("c", "a"))
    assert policies.compiled == []

    assert policies.routes("a") is policies.routes("b") is not policies.routes("c")
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

    assert set(policies.change(old, new)) == sites
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

    assert set(policies.change(None, cloud("x", labels=LABELS))) == set()
    assert not policies._in_use
    assert not policies._selectors._by_first
    assert not policies.set("a", None)
