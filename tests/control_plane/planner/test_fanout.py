"""The plan of a fan-out: whom one request goes to, and who is missing."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.clouds.declared_types import declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import AcceptRule, Cloud, CloudPattern, Endpoint, Service
from scopeway.control_plane.clouds.service_type import ServiceList, ServiceType
from scopeway.control_plane.planner.fanout import MAX_CLOUDS, MAX_NAME_BYTES, no_collector
from scopeway.control_plane.planner.plan import Fanout, Missing, Plan, Rejection, Route, Skipped
from scopeway.control_plane.planner.planner import PlanSettings, plan_target, plan_with_skipped
from scopeway.control_plane.scope import parse_target

SERVICES = {"image": Service(endpoints=(Endpoint(address="127.0.0.1", port=9292),))}
OPEN = (AcceptRule(clouds=(CloudPattern(name="home"),)),)


def cloud(
    name: str,
    labels: Mapping[str, str] | None = None,
    *,
    services: Mapping[str, Service] = SERVICES,
    accept: tuple[AcceptRule, ...] = OPEN,
) -> Cloud:
    return Cloud(name=name, labels=labels or {}, services=services, accept=accept)


def inventory(*clouds: Cloud) -> Inventory:
    return Inventory().apply({each.name: each for each in clouds})


HOME = cloud("home", {"region": "eu", "tier": "edge"})
CLOUDS = inventory(
    HOME,
    cloud("a", {"region": "eu"}),
    cloud("b", {"region": "eu", "tier": "edge"}),
    cloud("c", {"region": "us"}),
    cloud("closed", {"region": "eu"}, accept=()),
    cloud("empty", services={}),
)


def planned(name: str, clouds: Inventory = CLOUDS) -> Plan:
    return plan_target(parse_target(name), HOME, clouds, PlanSettings())


@pytest.mark.parametrize(
    ("name", "operator", "members"),
    [
        ("image@a&b", "&", "a b"),
        ("image@b&a&b", "&", "b a"),
        ("image@c&local&a", "&", "c home a"),
        ("image@a^local", "^", "a home"),
        ("image@&[region=us]", "&", "c"),
        ("image@&[region=eu]", "&", "home b a"),  # the nearest first
        ("image@a&&[region=eu]", "&", "a home b"),
        ("image@&[region=us]&&[tier=edge]", "&", "c home b"),
        ("image@a&a", "&", "a"),
        ("image@(a)&((b))", "&", "a b"),
    ],
)
def test_the_members_are_in_the_order_of_the_expression_each_once(
    name: str, operator: str, members: str
) -> None:
    plan = planned(name)

    assert isinstance(plan, Fanout)
    assert (plan.operator, plan.members) == (operator, tuple(members.split()))


def test_clouds_that_cannot_be_asked_are_missing_in_the_order_of_the_expression() -> None:
    target = parse_target("image@nowhere&a&closed&empty")

    plan, skipped = plan_with_skipped(target, HOME, CLOUDS, PlanSettings())

    assert plan == Fanout(
        operator="&",
        members=("a",),
        missing=(
            Missing(cloud="nowhere", status=404, cause="unknown"),
            Missing(cloud="closed", status=403, cause="policy"),
            Missing(cloud="empty", status=404, cause="no-service"),
        ),
    )
    denied = "closed does not let home use its image service: it has no accept rules"
    assert skipped == (
        Skipped(cloud="nowhere", reason="no cloud is named nowhere", cause="unknown"),
        Skipped(cloud="closed", reason=denied, cause="policy"),
        Skipped(cloud="empty", reason="empty has no image service", cause="no-service"),
    )


def test_a_fanout_of_a_declared_service_type_says_what_its_lists_look_like() -> None:
    readings = ServiceList(path="/readings", key="readings", id="id")
    declared, _ = declare([ServiceType(name="sensor", lists=(readings,))])
    clouds = CLOUDS.with_service_types(declared)
    for name in ("a", "b"):
        sensors = cloud(name, services={"sensor": SERVICES["image"]})
        clouds = clouds.apply({name: sensors})
    plan = planned("sensor@a&b", clouds)

    assert isinstance(plan, Fanout)
    assert plan.lists == '[{"path":"/readings","key":"readings","id":"id"}]'
    plan = planned("image@c&home", clouds)
    assert isinstance(plan, Fanout)
    assert plan.lists == ""


def test_a_cloud_whose_rules_allow_no_fanout_is_missing_and_serves_single_requests() -> None:
    rule = AcceptRule(clouds=(CloudPattern(name="home"),), fanout=False)
    clouds = CLOUDS.apply({"single": cloud("single", accept=(rule,))})

    plan, skipped = plan_with_skipped(parse_target("image@a&single"), HOME, clouds, PlanSettings())

    assert isinstance(plan, Fanout)
    assert plan.missing == (Missing(cloud="single", status=403, cause="policy"),)
    assert skipped[0].reason == (
        "single does not let home use its image service: its rule accept[0] allows no fan-out"
    )
    assert isinstance(planned("image@single", clouds), Route)
    assert isinstance(planned("image@single|a", clouds), Route)


def test_a_cordoned_cloud_is_missing_with_a_503() -> None:
    clouds = CLOUDS.with_cordons({"b": "new disks"})
    plan = planned("image@a&b", clouds)

    assert isinstance(plan, Fanout)
    assert plan.missing == (Missing(cloud="b", status=503, cause="cordoned"),)


ONLY_AND = "'&' joins clouds, local and '&[...]' only"
CROSS = "'%' divides one resource among clouds, which no service of OpenStack can do"


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("image@nowhere&closed", 404, "no cloud is named nowhere"),
        ("image@&[region=moon]", 404, "no cloud has the labels [region=moon]"),
        ("image@&[a=b]&&[c=d]", 404, "no cloud has the labels [a=b], [c=d]"),
        ("image@a&(b|c)", 501, f"{ONLY_AND}, no part with '|'"),
        ("image@a&(b^c)", 501, f"{ONLY_AND}, no part with '^'"),
        ("image@a&[region=eu]", 501, f"{ONLY_AND}, not [region=eu]"),
        ("image@a^b&c", 501, "'^' joins clouds and local only, no part with '&'"),
        ("image@a^[x=y]", 501, "'^' joins clouds and local only, not [x=y]"),
        ("image@a^&[x=y]", 501, "'^' joins clouds and local only, not &[x=y]"),
        ("image@a|b&c", 501, "an expression with '|' takes no '&'"),
        ("image@a|b^c", 501, "an expression with '|' takes no '^'"),
        ("image@a|&[x=y]", 501, "an expression with '|' takes no '&'"),
        ("image@a%b", 501, CROSS),
        ("image@a|(b&(c%a))", 501, CROSS),
        ("identity@a&b", 400, "identity takes one cloud, not '&'"),
        ("identity@&[x=y]", 400, "identity takes one cloud, not '&'"),
    ],
)
def test_a_fanout_that_cannot_be_served_has_a_status_and_a_reason(
    name: str, status: int, reason: str
) -> None:
    assert planned(name) == Rejection(status=status, reason=reason)


def many(count: int, length: int = 8) -> Inventory:
    clouds = [cloud(f"c{number:0{length - 1}}", {"tier": "edge"}) for number in range(count)]
    return inventory(HOME, *clouds)


def test_a_fanout_has_at_most_4096_clouds() -> None:
    assert MAX_CLOUDS == 4096
    most = planned("image@&[tier=edge]", many(MAX_CLOUDS - 1))
    beyond = planned("image@&[tier=edge]", many(MAX_CLOUDS))

    assert isinstance(most, Fanout)
    assert len(most.members) == MAX_CLOUDS
    reason = "a fan-out has more than 4096 clouds: narrow the scope"
    assert beyond == Rejection(status=400, reason=reason)


def test_the_names_of_a_fanout_have_at_most_48_kb() -> None:
    # each name has 47 characters and a comma; before them comes "home,"
    fitting = (MAX_NAME_BYTES - len("home,") + 1) // 48
    most = planned("image@&[tier=edge]", many(fitting, 47))
    beyond = planned("image@&[tier=edge]", many(fitting + 1, 47))

    assert isinstance(most, Fanout)
    assert len(most.members) == fitting + 1
    reason = "a fan-out has names of more than 49152 bytes: narrow the scope"
    assert beyond == Rejection(status=400, reason=reason)


def test_missing_clouds_count_among_the_bytes_of_names() -> None:
    names = [f"{number:060}" for number in range(700)]
    closed = [cloud(name, {"tier": "edge"}, accept=()) for name in names]

    assert planned("image@&[tier=edge]", inventory(HOME, *closed)) == Rejection(
        status=400,
        reason="a fan-out has names of more than 49152 bytes: narrow the scope",
    )


expressions = st.recursive(
    st.sampled_from(["a", "b", "local", "nowhere", "[region=eu]", "&[region=eu]"]),
    lambda inner: st.builds(
        lambda operator, left, right: f"({left}){operator}({right})",
        st.sampled_from("|&^%"),
        inner,
        inner,
    ),
    max_leaves=4,
)


@given(expressions)
def test_what_the_lua_takes_for_a_fanout_goes_to_no_other_cloud_directly(expression: str) -> None:
    """Its route at the front drops no credentials."""
    plan = planned(f"image@{expression}")

    if "&" in expression or "^" in expression:
        assert not isinstance(plan, Route)
    else:
        assert not isinstance(plan, Fanout)


def test_a_site_without_a_collector_says_what_it_lacks() -> None:
    assert no_collector("cloud-1") == Rejection(
        status=501, reason="cloud-1 has no collector (scopeway collect)"
    )
