"""The targets that an Envoy gets before it asks for them."""

from collections.abc import Sequence

import pytest
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
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.planner.prefetch import parse_prefetch, prefetch_targets
from scopeway.control_plane.scope import ScopeError
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.xds.steps import finish

SERVICE = Service(endpoints=(Endpoint(address="127.0.0.1", port=9292),))
SETTINGS = PlanSettings()


def inventory(*clouds: Cloud) -> Inventory:
    return Inventory().apply({cloud.name: cloud for cloud in clouds})


def cloud(name: str, **labels: str) -> Cloud:
    return Cloud(name=name, labels=labels)


def selected(texts: Sequence[str], *clouds: Cloud, limit: int = 100) -> PrefetchSet:
    return PrefetchSet([parse_prefetch(text) for text in texts], inventory(*clouds), limit=limit)


CORE, EDGE = {"tier": "core"}, {"tier": "edge"}
FLEET = (cloud("a", **CORE), cloud("b", **EDGE), cloud("c", **CORE, region="eu"), cloud("d"))


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["[tier=core]"], "ac"),
        (["[tier=core,region=eu]"], "c"),
        (["d | [tier=edge]"], "bd"),
        (["a", "d", "z"], "ad"),
        (["[tier=core] | a"], "ac"),
        (["[tier=none]"], ""),
    ],
)
def test_prefetch_expressions_select_clouds_by_name_and_labels(
    texts: list[str], names: str
) -> None:
    assert selected(texts, *FLEET).clouds == set(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("local", "'local' is another cloud at each site"),
        ("a|local", "'local' is another cloud at each site"),
        ("a&b", "the operator '&' selects no clouds to prefetch"),
        ("a|(b^c)", "the operator '^' selects no clouds to prefetch"),
        ("a|", "column 3"),
        ("[tier]", "column"),
    ],
)
def test_a_prefetch_expression_that_selects_nothing_is_refused(text: str, words: str) -> None:
    with pytest.raises(ScopeError) as refused:
        parse_prefetch(text)

    assert words in str(refused.value)


def test_clouds_beyond_the_prefetch_limit_are_left_out_by_name() -> None:
    few = selected(["[tier=core] | [tier=edge] | d"], *FLEET, limit=2)
    before = (few.clouds, few.left_out)
    more = inventory(*FLEET, cloud("aa", **CORE))
    touched = finish(few.update(more, ["aa"]))

    assert before == ({"a", "b"}, 2)
    assert few.clouds == {"a", "aa"}
    assert few.left_out == 3
    assert touched == {"aa", "b"}  # b had to go


def test_a_change_concerns_the_prefetch_set_only_if_it_selects_the_cloud() -> None:
    chosen = selected(["[tier=core]"], *FLEET)
    clouds = inventory(*FLEET)

    assert finish(chosen.update(clouds, ["b", "d"])) == set()
    assert finish(chosen.update(clouds, ["a", "b"])) == {"a"}
    assert finish(chosen.update(clouds.apply({}, ["c"]), ["c"])) == {"c"}
    assert finish(chosen.update(clouds.apply({"b": cloud("b", **CORE)}), ["b"])) == {"b"}
    assert chosen.clouds == {"a", "b"}


NAMES = st.sampled_from("abcdef")
CLOUDS = st.builds(lambda name, tier: cloud(name, tier=tier), NAMES, st.sampled_from("xy"))
CHANGES = st.lists(st.tuples(st.lists(CLOUDS, max_size=4), st.lists(NAMES, max_size=2)), max_size=6)


@given(CHANGES, st.integers(1, 4))
def test_updating_a_prefetch_set_equals_making_it_anew(changes, limit) -> None:
    expressions = [parse_prefetch("[tier=x] | c")]
    known = Inventory()
    following = PrefetchSet(expressions, known, limit=limit)
    for upserts, deletes in changes:
        before = following.clouds
        known = known.apply({each.name: each for each in upserts}, deletes)
        touched = finish(following.update(known, {*(each.name for each in upserts), *deletes}))
        anew = PrefetchSet(expressions, known, limit=limit)

        assert (following.clouds, following.left_out) == (anew.clouds, anew.left_out)
        assert before ^ following.clouds <= touched


CALLER = Cloud(
    name="home",
    services={"image": SERVICE},
    accept=(AcceptRule(clouds=(), identity=IdentityRule(clouds=(CloudPattern(name="issuer"),))),),
)
OTHERS = inventory(
    CALLER,
    Cloud(
        name="open",
        services={"image": SERVICE, "identity": SERVICE, "compute": SERVICE},
        accept=(AcceptRule(clouds=(CloudPattern(name="home"),), services=("image", "identity")),),
    ),
    Cloud(
        name="issuer",
        services={"identity": SERVICE},
        accept=(AcceptRule(clouds=(CloudPattern(name="home"),), services=("identity.validate",)),),
    ),
    Cloud(name="closed", services={"image": SERVICE}),
    Cloud(
        name="far",
        services={"image": SERVICE},
        peer=Peer(address="203.0.113.9", port=8443),
        accept=(AcceptRule(clouds=(CloudPattern(name="home"),)),),
    ),
)


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("open", {"image@open", "identity@open"}),
        ("issuer", {"identity.validate@issuer"}),
        ("closed", set()),
        ("far", set()),
        ("nowhere", set()),
        ("home", set()),
    ],
)
def test_prefetched_targets_are_those_that_the_caller_may_use(name: str, targets: set[str]) -> None:
    assert prefetch_targets(name, CALLER, OTHERS, SETTINGS) == targets


def test_prefetched_targets_of_a_cordoned_cloud_stay_the_same() -> None:
    """A cordon changes what they say; if they went, the first use after it would be a miss."""
    cordoned = OTHERS.with_cordons({"open": "why", "closed": "why"})

    assert prefetch_targets("open", CALLER, cordoned, SETTINGS) == {"image@open", "identity@open"}
    assert prefetch_targets("closed", CALLER, cordoned, SETTINGS) == set()
