"""Which targets a changed cloud affects."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    Cloud,
    CloudPattern,
    Endpoint,
    IdentityRule,
    Peer,
    Service,
)
from scopeway.control_plane.planner.planner import PlanSettings, plan_target
from scopeway.control_plane.scope import parse_target
from scopeway.control_plane.serving.target_index import TargetIndex, is_another_caller


def using(*uses: tuple[str, str]) -> TargetIndex:
    index = TargetIndex()
    for name, site in uses:
        index.add(name, parse_target(name), site)
    return index


def test_a_changed_cloud_affects_the_targets_that_name_it() -> None:
    index = using(("image@a", "s"), ("image@b|(c|a)", "s"), ("image@b", "s"))

    assert affected(index, None, Cloud(name="a")) == {"image@a", "image@b|(c|a)"}
    assert affected(index, Cloud(name="c"), None) == {"image@b|(c|a)"}
    assert affected(index, None, Cloud(name="d")) == frozenset()


def affected(index: TargetIndex, *clouds: Cloud | None) -> frozenset[str]:
    found = index.affected([each for each in clouds if each is not None])
    return frozenset().union(*found)


def test_a_changed_cloud_affects_the_selectors_that_matched_it_or_match_it_now() -> None:
    index = using(
        ("image@[region=eu]", "s"),
        ("image@[region=eu,tier=edge]", "s"),
        ("image@[region=us]", "s"),
    )
    old = Cloud(name="a", labels={"region": "eu", "tier": "core"})
    new = Cloud(name="a", labels={"region": "us", "tier": "edge"})

    assert affected(index, old, new) == {"image@[region=eu]", "image@[region=us]"}
    assert affected(index, new, None) == {"image@[region=us]"}


def test_a_changed_service_type_affects_its_targets_until_no_site_uses_them() -> None:
    index = using(("sensor@a", "s"), ("sensor@a|[b=c]", "s"), ("image@a", "s"), ("sensor@a", "t"))
    index.discard("sensor@a", "s")

    def of(*types: str) -> set[str]:
        return {name for names in index.affected([], types) for name in names}

    assert of("sensor") == {"sensor@a", "sensor@a|[b=c]"}
    assert of("image", "valve") == set()
    index.discard("sensor@a", "t")
    assert of("sensor") == {"sensor@a|[b=c]"}


def test_local_means_the_cloud_of_each_site_that_uses_the_target() -> None:
    index = using(("image@local", "a"), ("image@local", "b"))
    index.discard("image@local", "a")

    assert affected(index, None, Cloud(name="a")) == frozenset()
    assert affected(index, None, Cloud(name="b")) == {"image@local"}


def test_a_target_that_names_the_own_cloud_too_stays_known_for_other_sites() -> None:
    name = "image@a|local"
    index = using((name, "a"), (name, "b"))
    index.discard(name, "a")

    assert affected(index, None, Cloud(name="a")) == {name}
    assert index.by_user({name}) == {"b": [name]}


def test_changed_labels_or_rules_make_a_cloud_another_caller() -> None:
    old = Cloud(name="a")

    assert is_another_caller(old, Cloud(name="a", labels={"tier": "edge"}))
    assert is_another_caller(old, Cloud(name="a", accept=(AcceptRule(clouds=()),)))
    assert is_another_caller(None, old)
    assert is_another_caller(old, None)
    assert not is_another_caller(None, None)
    assert not is_another_caller(old, Cloud(name="a", peer=Peer(address="127.0.0.1", port=1)))


def test_a_target_is_known_until_its_last_site_discards_it() -> None:
    name = "image@a|[region=eu]"
    index = using((name, "s"), (name, "t"))
    change = None, Cloud(name="a", labels={"region": "eu"})

    index.discard(name, "s")
    assert affected(index, *change) == {name}
    index.discard(name, "t")

    assert affected(index, *change) == frozenset()
    assert len(index) == 0


def test_the_index_is_empty_when_all_targets_are_discarded() -> None:
    """Targets come and go for months, so no empty entry may stay behind."""
    names = ["image@a", "image@local", "image@[r=1]|[r=1,t=2]", "image@a&b"]
    index = using(*((name, site) for name in names for site in ("s", "t")))

    for name in names:
        for site in ("s", "t", "never"):
            index.discard(name, site)

    assert all(not index for index in vars(index).values())


SETTINGS = PlanSettings()
NAMES = ("a", "b", "c")
LABELS = st.sampled_from([{}, {"r": "1"}, {"r": "2"}, {"t": "1"}, {"r": "1", "t": "2"}])
PATTERNS = st.one_of(
    st.builds(CloudPattern, name=st.sampled_from(NAMES)),
    st.builds(CloudPattern, labels=LABELS.filter(bool)),
)
RULES = st.builds(
    AcceptRule,
    clouds=st.lists(PATTERNS, min_size=1, max_size=3).map(tuple),
    identity=st.none() | st.builds(IdentityRule, clouds=st.tuples(PATTERNS)),
)
SERVICE = Service(endpoints=(Endpoint(address="127.0.0.1", port=1),))
SERVICES = st.sampled_from([{}, {"image": SERVICE}, {"image": SERVICE, "identity": SERVICE}])
STATES = st.none() | st.fixed_dictionaries(
    {
        "labels": LABELS,
        "services": SERVICES,
        "accept": st.lists(RULES, max_size=2).map(tuple),
        "peer": st.none() | st.just(Peer(address="127.0.0.1", port=2)),
    }
)
FLEETS = st.fixed_dictionaries(dict.fromkeys(NAMES, STATES)).map(
    lambda states: {
        name: Cloud(name=name, **state) for name, state in states.items() if state is not None
    }
)
TARGETS = (
    "image@a",
    "image@local",
    "image@a|b",
    "image@[r=1]",
    "image@[r=2,t=1]|c",
    "image@(b|[t=2])|local",
    "identity.validate@a",
    "identity.validate@b",
    "image@a&b",
)


PARSED = {name: parse_target(name) for name in TARGETS}
FIELDS = st.sampled_from([("labels",), ("services",), ("accept",), ("peer",), None])


@given(FLEETS, st.sampled_from(NAMES), STATES, FIELDS)
def test_every_plan_that_changes_is_among_the_affected_targets(
    fleet: dict[str, Cloud],
    name: str,
    state: dict[str, Any] | None,
    fields: tuple[str, ...] | None,
) -> None:
    """One cloud is added, removed, or changed in all or one of its fields."""
    index = TargetIndex()
    for text in TARGETS:
        for site in NAMES:
            index.add(text, PARSED[text], site)
    before = Inventory().apply(fleet)
    old, new = before.get(name), None if state is None else Cloud(name=name, **state)
    if old and state and fields:
        new = replace(old, **{each: state[each] for each in fields})
    after = before.apply({} if new is None else {name: new}, deletes=() if new else (name,))

    found = affected(index, old, new)
    at_home = frozenset(TARGETS) if is_another_caller(old, new) else frozenset()

    for site in NAMES:
        was, now = before.get(site), after.get(site)
        if was is None or now is None:
            continue
        for text in set(TARGETS) - found - (at_home if site == name else frozenset()):
            target = PARSED[text]
            assert plan_target(target, was, before, SETTINGS) == plan_target(
                target, now, after, SETTINGS
            )
