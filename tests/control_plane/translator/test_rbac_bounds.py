"""The size and the cost of a policy are bounded, whatever its rules and the labels of clouds."""

import random
import sys
from collections.abc import Callable, Mapping

import pytest

from growth_of_cost import LINEAR, growth
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudPattern,
    Front,
    IdentityRule,
)
from scopeway.control_plane.clouds.policy import Policy, policy_of
from scopeway.control_plane.planner import caller_classes, grants
from scopeway.control_plane.planner.caller_classes import MAX_LOOKED_AT
from scopeway.control_plane.planner.grants import (
    MAX_GRANTS,
    grants_of_class,
    policy_problem,
    rules_by_word,
)
from scopeway.control_plane.scope import SERVICE_TYPES
from scopeway.control_plane.translator import rbac
from scopeway.control_plane.translator.rbac import MAX_ALONE, peer_policy
from scopeway.control_plane.translator.routes import peer_routes
from scopeway.control_plane.translator.site_resources import site_resources
from scopeway.xds.type_urls import EXTENSION

SERVICES = tuple(sorted(SERVICE_TYPES))
METHODS = ("COPY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT")


def fleet(count: int, *, own_label: bool = False) -> Inventory:
    clouds = [
        Cloud(
            name=f"cloud-{number}",
            labels={
                "fleet": "f",
                "region": f"r{number % 7}",
                **({"host": f"h{number}"} if own_label else {}),
            },
        )
        for number in range(count)
    ]
    return Inventory().apply({each.name: each for each in clouds})


def by_labels(count: int, **labels: str) -> Policy:
    """Rules for the same clouds, each about another service with another method."""
    rules = [
        AcceptRule(
            clouds=(CloudPattern(labels=labels),),
            services=(SERVICES[number % len(SERVICES)],),
            methods=(METHODS[number // 8 % 8],),
        )
        for number in range(count)
    ]
    return policy_of(Cloud(name="owner", accept=tuple(rules)))


def by_names(*lists: list[int], services: tuple[str, ...] | None = None) -> Policy:
    """Rules for clouds by number."""
    rules = [
        AcceptRule(
            clouds=tuple(CloudPattern(name=f"cloud-{number}") for number in each),
            services=services,
            methods=(METHODS[index % 8],),
        )
        for index, each in enumerate(lists)
    ]
    return policy_of(Cloud(name="owner", accept=tuple(rules)))


def routes(rules: Policy, inventory: Inventory) -> bytes:
    return peer_routes(rules, inventory, trust_domain="fleet").body


@pytest.mark.parametrize("rules", [1, 5, 256])
@pytest.mark.parametrize("own_label", [False, True])
def test_each_caller_is_encoded_once_whatever_the_number_of_rules(
    rules: int, own_label: bool
) -> None:
    made = routes(by_labels(rules, fleet="f"), fleet(1000, own_label=own_label))

    assert made.count(b"/cloud/cloud-") == 1000
    assert len(made) < 1000 * 150 + rules * 600 + 20_000


def test_a_policy_has_the_size_of_the_documented_formula() -> None:
    """`docs/limits.md`: 160 bytes, the trust domain and the name a caller; 2 kB a grant."""
    rnd = random.Random(1)
    lists = [rnd.sample(range(400), 5) for _ in range(30)]
    rules = by_names(*lists, services=SERVICES[:20])
    made = routes(rules, fleet(400))
    words = rules_by_word(rules)
    classes = caller_classes.caller_classes(rules, fleet(400))
    count = sum(len(list(grants_of_class(words, each.rules))) for each in classes)

    assert 100 < count < MAX_GRANTS
    assert len(made) < 150 * (160 + len("fleet") + 63) + count * 2000 + 20_000


def test_a_changed_cloud_encodes_only_its_own_class_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoded: list[int] = []
    encode = rbac._encode

    def counting(names: tuple[str, ...], *more: object) -> bytes:
        encoded.append(len(names))
        return encode(names, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(rbac, "_encode", counting)
    before = fleet(2000)
    rules, others = by_labels(5, fleet="f"), by_labels(3, fleet="f")
    routes(rules, before)
    assert sum(encoded) == 2000

    encoded.clear()
    after = before.apply({"cloud-9": Cloud(name="cloud-9", labels={"region": "r2"})})
    assert len(routes(rules, after)) < len(routes(rules, before))
    routes(others, after)
    assert 0 < sum(encoded) < 400


def test_a_policy_has_the_same_bytes_at_every_replica() -> None:
    """Whatever clouds there were before, and in whatever order they were registered."""
    rules = by_labels(5, fleet="f")
    at_once = fleet(300)
    one_by_one = fleet(900).apply({}, [f"cloud-{number}" for number in range(300, 900)])
    numbers = list(range(300))
    random.Random(2).shuffle(numbers)
    shuffled = Inventory()
    for number in numbers:
        cloud = at_once.get(f"cloud-{number}")
        assert cloud is not None
        shuffled = shuffled.apply({cloud.name: cloud})

    assert routes(rules, at_once) == routes(rules, one_by_one) == routes(rules, shuffled)


@pytest.mark.parametrize("own_label", [False, True])
def test_the_cost_of_a_policy_is_linear_in_the_clouds(own_label: bool) -> None:
    def prepare(count: int) -> Callable[[], object]:
        inventory = fleet(count, own_label=own_label)
        rbac._encoded.__init__(1, rbac._encoded._size)  # type: ignore[misc]
        return lambda: routes(by_labels(256, fleet="f"), inventory)

    try:
        assert growth(prepare, 2000) < LINEAR
    finally:
        rbac._encoded.__init__(rbac._CACHE_ENTRIES, rbac._encoded._size)  # type: ignore[misc]


def test_the_cost_of_a_policy_does_not_grow_with_rules_times_clouds() -> None:
    """16 times the rules for the same clouds: before, each was worked out for each cloud."""
    inventory = fleet(4000)
    few, many = by_labels(16, fleet="f"), by_labels(256, fleet="f")

    def prepare(rules: int) -> Callable[[], object]:
        return lambda: routes(few if rules == 1 else many, inventory)

    assert growth(prepare, 1) < LINEAR


def refused(rules: Policy, inventory: Inventory) -> str:
    made = peer_policy(rules, inventory, trust_domain="fleet")
    assert b"too-large" in made.decision
    assert b"/cloud/" not in made.classes + made.decision
    assert b"accept[" not in made.decision
    assert made.problem is not None
    assert policy_problem(rules, inventory) == made.problem
    return made.problem


def test_a_policy_with_rights_beyond_the_limit_denies_everybody() -> None:
    def halves(classes: int) -> Policy:
        """Each cloud in a class of its own, with two rights."""
        lists: list[list[int]] = [[] for _ in range(8)]
        for number in range(classes):
            for bit in range(8):
                if number + 1 & 1 << bit:
                    lists[bit].append(number)
        return by_names(*lists)

    made = peer_policy(halves(100), Inventory(), trust_domain="fleet")
    assert made.problem is None
    words = rules_by_word(halves(100))
    classes = caller_classes.caller_classes(halves(100), Inventory())
    exactly = sum(len(list(grants_of_class(words, each.rules))) for each in classes)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grants, "MAX_GRANTS", exactly)
        assert peer_policy(halves(100), Inventory(), trust_domain="fleet").problem is None
        patch.setattr(grants, "MAX_GRANTS", exactly - 1)
        assert refused(halves(100), Inventory()) == (
            f"its accept rules come to more than {exactly - 1} different rights: "
            "100 classes of clouds, each with its services and methods"
        )


def test_a_policy_beyond_the_limit_denies_nobody_in_audit_mode_and_keeps_its_limits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limits = CallerLimits(requests_at_once=20)
    rule = AcceptRule(clouds=(CloudPattern(name="cloud-1"),), limits=limits)
    audited = policy_of(Cloud(name="owner", accept=(rule,), accept_mode="audit"))
    monkeypatch.setattr(grants, "MAX_GRANTS", 0)

    made = peer_routes(audited, Inventory())
    assert made.problem is not None
    assert made.problem.endswith("; as acceptMode is audit, nobody is denied yet")
    assert b"- - 20 0 cloud-1" in made.body


def test_a_policy_that_looks_at_clouds_beyond_the_limit_denies_everybody() -> None:
    inventory = fleet(100, own_label=True)
    rules = by_labels(1, fleet="f")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(caller_classes, "MAX_LOOKED_AT", 100)
        assert peer_policy(rules, inventory, trust_domain="fleet").problem is None
        patch.setattr(caller_classes, "MAX_LOOKED_AT", 99)
        assert refused(rules, inventory) == (
            "its accept rules select 100 times a cloud or a set of labels, more than 99; "
            "fewer rules by labels that most clouds bear would do"
        )


def test_five_rules_for_labels_of_a_whole_large_fleet_are_within_the_limit() -> None:
    inventory = fleet(10_000, own_label=True)
    labels: list[Mapping[str, str]] = [{"fleet": "f"}, *({"region": f"r{n}"} for n in range(4))]
    rules = policy_of(
        Cloud(
            name="owner",
            accept=tuple(AcceptRule(clouds=(CloudPattern(labels=each),)) for each in labels),
        )
    )
    made = peer_policy(rules, inventory, trust_domain="fleet")

    assert MAX_LOOKED_AT >= 5 * 10_000
    assert made.problem is None
    assert made.classes.count(b"/cloud/cloud-") == 10_000
    assert len(made.classes) < 1_500_000


@pytest.mark.parametrize("callers", [500, 1000])
def test_the_size_of_a_policy_for_earlier_envoys_is_limited(callers: int) -> None:
    """A larger policy is sent in the current format."""
    services = SERVICES[:20]
    fields = [
        (services[number : number + 1], ("GET", "POST", f"M{number}")) for number in range(20)
    ]
    everybody = (CloudPattern(labels={"fleet": "f"}),)
    rules = policy_of(
        Cloud(
            name="owner",
            accept=tuple(
                AcceptRule(clouds=everybody, services=each, methods=methods)
                for each, methods in fields
            ),
        )
    )
    made = peer_policy(rules, fleet(callers), trust_domain="fleet", earlier=True)
    others = peer_policy(rules, fleet(callers), trust_domain="fleet")

    if callers == 500:
        assert (made.classes, made.problem) == (b"", None)
        assert made.decision.count(b"/cloud/cloud-") == 500
        assert MAX_ALONE // 2 < len(made.decision) < MAX_ALONE, len(made.decision)
    else:
        assert made == others


def test_clouds_with_kept_ids_are_quoted_once_for_all_listeners(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = sys.modules["scopeway.lua_filters.bundle"]
    quoted, quote = [], module._quoted
    monkeypatch.setattr(module, "_quoted", lambda text: quoted.append(text) or quote(text))
    kept = tuple(CloudPattern(name=f"cloud-{number}") for number in range(500))
    rule = AcceptRule(clouds=kept, identity=IdentityRule(clouds=kept, ids="kept"))
    ports = {service: 1000 + number for number, service in enumerate(SERVICES)}
    front = Front(address="127.0.0.1", port=1, ports=ports)
    made = site_resources(Cloud(name="owner", front=front, accept=(rule,)))

    assert quoted.count("cloud-7") == 1
    assert sum(b'"cloud-7"' in body for body in made[EXTENSION].values()) > len(SERVICES)
