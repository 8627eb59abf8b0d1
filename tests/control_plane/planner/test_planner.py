"""The plan for a target: a route of hops, or a rejection."""

from collections.abc import Mapping

import pytest

from scopeway.control_plane.clouds.declared_types import declare
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
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.planner.access import namespace
from scopeway.control_plane.planner.plan import (
    Direct,
    IdentityMapping,
    Local,
    PeerHop,
    Rejection,
    Route,
)
from scopeway.control_plane.planner.planner import (
    MAX_HOPS,
    PlanSettings,
    plan_target,
    plan_with_skipped,
)
from scopeway.control_plane.scope import IDENTITY_VALIDATE, parse_target

SERVICE = Service(endpoints=(Endpoint(address="127.0.0.1", port=9292),))
PLACES = ("127.0.0.1:9292",)
IDENTITY = Service(endpoints=(Endpoint(address="127.0.0.1", port=5000),), path="/identity")
OPEN = (AcceptRule(clouds=(CloudPattern(name="cloud-1"),)),)
SETTINGS = PlanSettings()
SENSOR_TYPES, _ = declare([ServiceType(name="sensor", aliases=("probe",))])


def cloud(
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    services: Mapping[str, Service] | None = None,
    accept: tuple[AcceptRule, ...] = OPEN,
    peer: str | None = None,
) -> Cloud:
    return Cloud(
        name=name,
        labels=labels or {},
        services={"image": SERVICE} if services is None else services,
        accept=accept,
        peer=Peer(address=peer, port=8443) if peer else None,
    )


def inventory(*clouds: Cloud) -> Inventory:
    return Inventory().apply({each.name: each for each in clouds})


HOME = cloud(
    "cloud-1",
    labels={"region": "eu", "tier": "edge"},
    services={"image": SERVICE, "identity": IDENTITY},
    accept=(
        AcceptRule(
            clouds=(), identity=IdentityRule(clouds=(CloudPattern(labels={"region": "us"}),))
        ),
    ),
)
CLOUDS = inventory(
    HOME,
    cloud("cloud-2", labels={"region": "eu"}),
    cloud("cloud-3", labels={"region": "eu", "tier": "edge"}, peer="127.0.0.3"),
    cloud("no-image", labels={"region": "eu"}, services={}),
    cloud("closed", labels={"region": "eu", "zone": "z"}, accept=()),
    cloud("far", peer="203.0.113.9"),
    cloud(
        "issuer",
        labels={"region": "us"},
        services={"identity": IDENTITY},
        accept=(AcceptRule(clouds=(CloudPattern(name="cloud-1"),), services=(IDENTITY_VALIDATE,)),),
        peer="127.0.0.9",
    ),
    cloud("silent", labels={"region": "us"}, services={"identity": IDENTITY}, accept=()),
    cloud("stranger", services={"identity": IDENTITY}, accept=OPEN),
)


def planned(name: str, settings: PlanSettings = SETTINGS) -> Route | Rejection:
    return plan_target(parse_target(name), HOME, CLOUDS, settings)


@pytest.mark.parametrize(
    ("name", "hops"),
    [
        ("image@cloud-1", [Local(cloud="cloud-1", service=SERVICE, link_origins=PLACES)]),
        ("image@local", [Local(cloud="cloud-1", service=SERVICE, link_origins=PLACES)]),
        ("image@cloud-2", [Direct(cloud="cloud-2", service=SERVICE, link_origins=PLACES)]),
        (
            "image@cloud-3",
            [PeerHop(cloud="cloud-3", address="127.0.0.3", port=8443, prefix="/image")],
        ),
    ],
)
def test_a_target_of_one_cloud_is_a_route_of_one_hop(
    name: str, hops: list[Local | Direct | PeerHop]
) -> None:
    assert planned(name) == Route(hops=tuple(hops))


def test_a_validation_is_routed_to_the_issuer_with_its_identity_mapping() -> None:
    assert planned("identity.validate@issuer") == Route(
        hops=(
            PeerHop(cloud="issuer", address="127.0.0.9", port=8443, prefix="/identity.validate"),
        ),
        identity_mapping=IdentityMapping(roles=("member", "reader"), namespace=namespace("issuer")),
    )
    assert planned("identity.validate@cloud-1") == Route(
        hops=(Local(cloud="cloud-1", service=IDENTITY, link_origins=("127.0.0.1:5000/identity",)),),
        identity_mapping=IdentityMapping(roles=("member", "reader"), namespace=""),
    )


@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("image@cloud-9", 404, "no cloud is named cloud-9"),
        ("image@no-image", 404, "no-image has no image service"),
        ("network@cloud-1", 404, "cloud-1 has no network service"),
        ("image@[region=mars,tier=edge]", 404, "no cloud has the labels [region=mars,tier=edge]"),
        (
            "image@closed",
            403,
            "closed does not let cloud-1 use its image service: it has no accept rules",
        ),
        (
            "image@far",
            503,
            "the peer of far at 203.0.113.9 is not on loopback, and peers speak plain HTTP/2; "
            "--insecure-peers allows it",
        ),
        (
            "identity.validate@silent",
            404,
            "silent does not let cloud-1 validate its tokens: it has no accept rules",
        ),
        (
            "identity@issuer",
            403,
            "issuer does not let cloud-1 use its identity service: its rule accept[0] allows "
            "identity.validate",
        ),
        (
            "identity.validate@stranger",
            404,
            "cloud-1 does not honour tokens of stranger: no identity list of its accept rules "
            "names it",
        ),
        ("identity.validate@cloud-9", 404, "no cloud is named cloud-9"),
        ("identity.validate@cloud-2", 404, "cloud-2 has no identity service"),
    ],
)
def test_a_target_that_cannot_be_served_has_a_status_and_a_reason(
    name: str, status: int, reason: str
) -> None:
    assert planned(name) == Rejection(status=status, reason=reason)


def clouds_of(name: str) -> list[str]:
    plan = planned(name)
    assert isinstance(plan, Route)
    return [hop.cloud for hop in plan.hops]


@pytest.mark.parametrize(
    ("name", "clouds"),
    [
        ("image@cloud-3|cloud-1|cloud-2", ["cloud-3", "cloud-1", "cloud-2"]),
        ("image@cloud-2|(cloud-3|local)", ["cloud-2", "cloud-3", "cloud-1"]),
        ("image@cloud-2|cloud-2|local|cloud-1", ["cloud-2", "cloud-1"]),
        ("image@cloud-9|closed|no-image|far|cloud-2", ["cloud-2"]),
        ("image@[region=eu]", ["cloud-1", "cloud-3", "cloud-2"]),
        ("image@[region=eu,tier=edge]", ["cloud-1", "cloud-3"]),
        ("image@cloud-2|[region=eu]", ["cloud-2", "cloud-1", "cloud-3"]),
        ("image@[region=mars]|cloud-2", ["cloud-2"]),
    ],
)
def test_alternatives_keep_their_order_without_the_clouds_that_cannot_serve(
    name: str, clouds: list[str]
) -> None:
    assert clouds_of(name) == clouds


def test_skipped_clouds_are_returned_with_their_reasons() -> None:
    _, skipped = plan_with_skipped(
        parse_target("image@cloud-9|closed|cloud-2|cloud-9"), HOME, CLOUDS, SETTINGS
    )

    assert [(each.cloud, each.reason) for each in skipped] == [
        ("cloud-9", "no cloud is named cloud-9"),
        (
            "closed",
            "closed does not let cloud-1 use its image service: it has no accept rules",
        ),
    ]


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("image@closed|cloud-9", 403),
        ("image@cloud-9|closed", 404),
        ("image@far|closed", 503),
        ("image@[zone=z]", 403),
        ("image@closed|[region=mars]", 403),
    ],
)
def test_a_target_without_a_usable_cloud_gets_the_first_rejection(name: str, status: int) -> None:
    plan = planned(name)

    assert isinstance(plan, Rejection)
    assert plan.status == status


def test_an_empty_selection_at_the_first_place_is_the_first_rejection() -> None:
    plan = planned("image@[region=mars]|closed")

    assert plan == Rejection(status=404, reason="no cloud has the labels [region=mars]")


def test_the_option_insecure_peers_allows_peers_beyond_loopback() -> None:
    plan = planned("image@far", PlanSettings(insecure_peers=True))

    assert plan == Route(
        hops=(PeerHop(cloud="far", address="203.0.113.9", port=8443, prefix="/image"),)
    )


def test_a_selector_stands_for_its_first_eight_usable_clouds() -> None:
    """Clouds that may not be used don't take the places of those that may."""
    many = inventory(
        HOME,
        *(
            cloud(f"c-{number:02}", labels={"kind": "k"}, accept=OPEN if number % 2 else ())
            for number in range(40)
        ),
    )

    plan = plan_target(parse_target("image@[kind=k]"), HOME, many, SETTINGS)

    assert isinstance(plan, Route)
    assert [hop.cloud for hop in plan.hops] == [f"c-{number:02}" for number in range(1, 17, 2)]


@pytest.mark.parametrize(("closed", "served"), [(255, True), (256, False)])
def test_a_selector_looks_at_a_bounded_number_of_clouds(closed: int, served: bool) -> None:
    """So many registered clouds that nobody may use cost other sites a bounded time."""
    near = (cloud(f"c-{number:03}", labels={"kind": "k"}, accept=()) for number in range(closed))
    clouds = inventory(HOME, *near, cloud("open", labels={"kind": "k"}))

    plan = plan_target(parse_target("image@[kind=k]"), HOME, clouds, SETTINGS)

    if served:
        assert isinstance(plan, Route)
        assert [hop.cloud for hop in plan.hops] == ["open"]
    else:
        assert isinstance(plan, Rejection)
        assert plan.status == 403


@pytest.mark.parametrize("last", ["", "|c-16-0", "|[kind=k16]"])
def test_a_route_has_at_most_as_many_hops_as_envoy_has_priorities(last: str) -> None:
    many = [cloud(f"c-{n}-{m}", labels={"kind": f"k{n}"}) for n in range(17) for m in range(8)]
    name = "image@" + "|".join(f"[kind=k{n}]" for n in range(16)) + last

    plan = plan_target(parse_target(name), HOME, inventory(HOME, *many), SETTINGS)

    assert isinstance(plan, Route)
    assert [hop.cloud for hop in plan.hops] == [each.name for each in many[:MAX_HOPS]]
    assert MAX_HOPS == 16 * 8


def test_equal_plans_of_different_callers_are_equal_keys() -> None:
    """Nodes whose views are equal share the bytes."""
    open_to_all = cloud(
        "cloud-2",
        accept=(AcceptRule(clouds=(CloudPattern(name="cloud-1"), CloudPattern(name="cloud-3"))),),
        peer="127.0.0.2",
    )
    clouds = inventory(HOME, cloud("cloud-3"), open_to_all)
    callers = [clouds.get("cloud-1"), clouds.get("cloud-3")]

    plans = {
        plan_target(parse_target("image@cloud-2"), caller, clouds, SETTINGS)
        for caller in callers
        if caller is not None
    }

    assert len(plans) == 1


CORDONED = {"cloud-1": "mine", "cloud-2": "new disks", "cloud-3": "", "closed": "x", "issuer": "y"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("image@cloud-2", "cloud-2 is cordoned: new disks"),
        ("image@cloud-3", "cloud-3 is cordoned"),
        ("image@cloud-3|cloud-2", "cloud-3 is cordoned"),
        ("identity.validate@issuer", "issuer is cordoned: y"),
    ],
)
def test_a_target_of_a_cordoned_cloud_is_a_503_with_the_reason_of_the_operator(
    name: str, reason: str
) -> None:
    plan = plan_target(parse_target(name), HOME, CLOUDS.with_cordons(CORDONED), SETTINGS)

    assert isinstance(plan, Rejection)
    assert (plan.status, plan.reason, plan.cause) == (503, reason, "cordoned")


@pytest.mark.parametrize(
    ("name", "clouds"),
    [
        ("image@cloud-2|far|cloud-1", ["cloud-1"]),
        ("image@[region=eu]", ["cloud-1"]),
        ("image@local", ["cloud-1"]),
    ],
)
def test_a_cordoned_cloud_is_skipped_except_at_its_own_site(name: str, clouds: list[str]) -> None:
    plan = plan_target(parse_target(name), HOME, CLOUDS.with_cordons(CORDONED), SETTINGS)

    assert isinstance(plan, Route)
    assert [hop.cloud for hop in plan.hops] == clouds


def test_callers_that_may_not_use_a_cloud_do_not_see_the_reason_of_its_cordon() -> None:
    plan = plan_target(parse_target("image@closed"), HOME, CLOUDS.with_cordons(CORDONED), SETTINGS)

    assert isinstance(plan, Rejection)
    assert (plan.status, plan.cause) == (403, "policy")


def test_each_skipped_cloud_has_a_cause_of_one_word() -> None:
    name = "image@cloud-9|closed|no-image|far|cloud-3|cloud-1"
    _, skipped = plan_with_skipped(
        parse_target(name), HOME, CLOUDS.with_cordons(CORDONED), SETTINGS
    )

    assert {each.cloud: each.cause for each in skipped} == {
        "cloud-9": "unknown",
        "closed": "policy",
        "no-image": "no-service",
        "far": "unreachable",
        "cloud-3": "cordoned",
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sensr@cloud-2", "no such service: 'sensr'; did you mean 'sensor'?"),
        ("valve@local", "no such service: 'valve'"),
        ("glance@cloud-2", "no such service: 'glance'; did you mean 'image'?"),
        ("probe@cloud-2", "no such service: 'probe'; did you mean 'sensor'?"),
        ("valve@nowhere", "no such service: 'valve'"),
    ],
)
def test_a_target_of_an_undeclared_service_type_is_a_404(name: str, reason: str) -> None:
    known = CLOUDS.with_service_types(SENSOR_TYPES)

    plan = plan_target(parse_target(name), HOME, known, SETTINGS)

    assert plan == Rejection(status=404, reason=reason)


def test_a_target_of_a_declared_service_type_is_planned_like_any_other() -> None:
    clouds = inventory(HOME, cloud("cloud-2", services={"sensor": SERVICE}))
    target = parse_target("sensor@cloud-2")

    assert isinstance(plan_target(target, HOME, clouds, SETTINGS), Rejection)
    plan = plan_target(target, HOME, clouds.with_service_types(SENSOR_TYPES), SETTINGS)
    assert plan == Route(hops=(Direct(cloud="cloud-2", service=SERVICE, link_origins=PLACES),))
