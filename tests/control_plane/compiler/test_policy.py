"""Who may use what."""

import pytest

from control_plane.clouds.model import AcceptRule, Cloud, CloudPattern, IdentityRule
from control_plane.compiler.policy import honours, matches, refusal

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
def test_a_pattern_means_a_name_or_all_of_its_labels(pattern: CloudPattern, expected: bool) -> None:
    assert matches(pattern, CALLER) is expected


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
def test_one_rule_with_the_caller_and_the_service_is_enough(rules: list[AcceptRule]) -> None:
    assert refusal(Cloud(name="cloud-2", accept=tuple(rules)), CALLER, "image") is None


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
def test_everything_else_is_denied_and_the_rule_is_named(rules: list[AcceptRule], why: str) -> None:
    denied = refusal(Cloud(name="cloud-2", accept=tuple(rules)), CALLER, "image")

    assert denied == f"cloud-2 does not let cloud-1 use its image service: {why}"


def test_a_cloud_accepts_itself() -> None:
    assert refusal(CALLER, CALLER, "image") is None


def test_tokens_are_honoured_by_the_identity_lists_alone() -> None:
    """Who may use the services does not say whose tokens are honoured, nor the other way round."""
    issuer = Cloud(name="cloud-2", labels={"region": "us"})

    def owner(*clouds: CloudPattern) -> Cloud:
        identity = IdentityRule(clouds=clouds)
        rules = (AcceptRule(clouds=(CloudPattern(name="cloud-2"),)), AcceptRule(clouds=()))
        return Cloud(
            name="cloud-1", accept=(*rules, AcceptRule(clouds=(OTHER,), identity=identity))
        )

    assert honours(owner(OTHER, CloudPattern(name="cloud-2")), issuer)
    assert honours(owner(CloudPattern(labels={"region": "us"})), issuer)
    assert not honours(owner(OTHER), issuer)
    assert not honours(Cloud(name="cloud-1", accept=(AcceptRule(clouds=(BY_LABEL,)),)), issuer)


def test_a_cloud_honours_its_own_tokens() -> None:
    assert honours(CALLER, CALLER)
