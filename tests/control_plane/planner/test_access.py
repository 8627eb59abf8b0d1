"""Which caller may use which service, and whose tokens count."""

import pytest

from scopeway.control_plane.clouds.model import AcceptRule, Cloud, CloudPattern, IdentityRule
from scopeway.control_plane.clouds.policy import pattern_matches
from scopeway.control_plane.planner.access import denial_reason, identity_mapping, namespace
from scopeway.control_plane.planner.plan import IdentityMapping

CALLER = Cloud(name="cloud-1", labels={"region": "eu", "tier": "edge"})
BY_NAME = CloudPattern(name="cloud-1")
BY_LABEL = CloudPattern(labels={"region": "eu"})
OTHER = CloudPattern(name="cloud-7")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        (BY_NAME, True),
        (OTHER, False),
        (BY_LABEL, True),
        (CloudPattern(labels={"region": "eu", "tier": "edge"}), True),
        (CloudPattern(labels={"region": "eu", "tier": "core"}), False),
        (CloudPattern(labels={"zone": "eu"}), False),
    ],
)
def test_a_cloud_pattern_matches_a_name_or_all_of_its_labels(
    pattern: CloudPattern, expected: bool
) -> None:
    assert pattern_matches(pattern, CALLER) is expected


@pytest.mark.parametrize(
    "rules",
    [
        [AcceptRule(clouds=(BY_NAME,))],
        [AcceptRule(clouds=(OTHER, BY_LABEL), services=("identity", "image"))],
        [
            AcceptRule(clouds=(BY_NAME,), services=("identity",)),
            AcceptRule(clouds=(BY_LABEL,), services=("image",)),
        ],
        [AcceptRule(clouds=(BY_NAME,), services=("image",), methods=("GET",))],
    ],
)
def test_one_rule_with_the_caller_and_the_service_allows_the_request(
    rules: list[AcceptRule],
) -> None:
    assert denial_reason(Cloud(name="cloud-2", accept=tuple(rules)), CALLER, "image") is None


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ([], "it has no accept rules"),
        ([AcceptRule(clouds=(OTHER,))], "none of its accept rules names cloud-1"),
        (
            [
                AcceptRule(clouds=(OTHER,)),
                AcceptRule(clouds=(BY_LABEL,), services=("identity", "network")),
                AcceptRule(clouds=(BY_NAME,), services=("compute",)),
            ],
            "its rule accept[1] allows identity, network",
        ),
        ([AcceptRule(clouds=(BY_NAME,), services=())], "its rule accept[0] allows no service"),
    ],
)
def test_a_request_without_a_matching_rule_is_denied_with_the_reason(
    rules: list[AcceptRule], why: str
) -> None:
    denied = denial_reason(Cloud(name="cloud-2", accept=tuple(rules)), CALLER, "image")

    assert denied == f"cloud-2 does not let cloud-1 use its image service: {why}"


def test_a_cloud_accepts_itself() -> None:
    assert denial_reason(CALLER, CALLER, "image") is None


ISSUER = Cloud(name="cloud-2", labels={"region": "us"})
NAMESPACE = "6f35b7f8bdf8b336"


def owner(*rules: IdentityRule) -> Cloud:
    """cloud-1 with these identity rules, each of a rule for a cloud that doesn't matter."""
    return Cloud(
        name="cloud-1", accept=tuple(AcceptRule(clouds=(OTHER,), identity=rule) for rule in rules)
    )


def named(roles: tuple[str, ...], ids: str = "mapped") -> IdentityRule:
    return IdentityRule(clouds=(CloudPattern(name="cloud-2"),), roles=roles, ids=ids)


@pytest.mark.parametrize(
    "clouds", [(OTHER, CloudPattern(name="cloud-2")), (CloudPattern(labels={"region": "us"}),)]
)
def test_tokens_are_honoured_by_the_identity_lists(clouds: tuple[CloudPattern, ...]) -> None:
    assert identity_mapping(owner(IdentityRule(clouds=clouds)), ISSUER) == IdentityMapping(
        roles=("member", "reader"), namespace=NAMESPACE
    )


def test_accept_rules_without_identity_lists_honour_no_tokens() -> None:
    rules = (AcceptRule(clouds=(CloudPattern(name="cloud-2"),)),)

    assert identity_mapping(owner(IdentityRule(clouds=(OTHER,))), ISSUER) is None
    assert identity_mapping(Cloud(name="cloud-1", accept=rules), ISSUER) is None


@pytest.mark.parametrize(
    ("rules", "roles"),
    [
        ([named(("admin",))], ("admin",)),
        ([named(("reader", "member")), named(("member", "admin"))], ("member",)),
        ([named(("member",)), named(("reader",))], ()),
        ([named(("a", "b", "c")), named(("c", "b")), named(("b", "a", "c"))], ("b", "c")),
    ],
)
def test_a_role_must_be_listed_by_all_rules_that_name_the_issuer(
    rules: list[IdentityRule], roles: tuple[str, ...]
) -> None:
    outcome = identity_mapping(owner(*rules, IdentityRule(clouds=(OTHER,), roles=())), ISSUER)

    assert outcome is not None
    assert outcome.roles == roles


@pytest.mark.parametrize(
    ("ids", "namespaced"),
    [(["kept"], False), (["kept", "kept"], False), (["kept", "mapped"], True), (["mapped"], True)],
)
def test_ids_are_kept_if_all_rules_that_name_the_issuer_say_so(
    ids: list[str], namespaced: bool
) -> None:
    outcome = identity_mapping(owner(*(named(("member",), each) for each in ids)), ISSUER)

    assert outcome is not None
    assert (outcome.namespace == NAMESPACE) is namespaced
    assert bool(outcome.namespace) is namespaced


def test_a_cloud_honours_its_own_tokens_with_their_ids() -> None:
    assert identity_mapping(CALLER, CALLER) == IdentityMapping(
        roles=("member", "reader"), namespace=""
    )


def test_the_namespace_of_a_cloud_depends_on_its_name_alone_and_never_changes() -> None:
    """Resources are found again by it, so it can never change."""
    assert namespace("cloud-2") == NAMESPACE
    assert namespace("cloud-3") != NAMESPACE
