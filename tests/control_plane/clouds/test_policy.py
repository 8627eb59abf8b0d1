"""The decision of a cloud's rules about one request."""

import pytest

from scopeway.control_plane.clouds.model import AcceptRule, Cloud, CloudPattern
from scopeway.control_plane.clouds.policy import FORM, Verdict, evaluate_rules

CALLER = Cloud(name="cloud-1", labels={"region": "eu"})
BY_NAME = (CloudPattern(name="cloud-1"),)
BY_LABEL = (CloudPattern(labels={"region": "eu"}),)
READS = ("GET", "HEAD")


def rules(*accept: AcceptRule) -> Cloud:
    return Cloud(name="cloud-2", accept=accept)


@pytest.mark.parametrize(
    ("owner", "method", "verdict"),
    [
        (rules(AcceptRule(clouds=BY_NAME)), "GET", Verdict(True, 0, "")),
        (rules(AcceptRule(clouds=BY_LABEL, methods=READS)), "GET", Verdict(True, 0, "")),
        (rules(AcceptRule(clouds=BY_LABEL, methods=READS)), None, Verdict(True, 0, "")),
        (
            rules(AcceptRule(clouds=BY_LABEL, methods=READS)),
            "POST",
            Verdict(False, 0, "its rule accept[0] allows GET, HEAD"),
        ),
        (
            rules(AcceptRule(clouds=BY_LABEL, methods=READS), AcceptRule(clouds=BY_NAME)),
            "POST",
            Verdict(True, 1, ""),
        ),
        (
            rules(AcceptRule(clouds=BY_NAME, methods=("GET", "POST"))),
            FORM,
            Verdict(False, 0, "its rule accept[0] allows GET, POST"),
        ),
        (rules(AcceptRule(clouds=BY_NAME)), FORM, Verdict(True, 0, "")),
        (
            rules(
                AcceptRule(clouds=BY_NAME, services=("compute",)),
                AcceptRule(clouds=BY_NAME, services=("image",), methods=READS),
            ),
            "POST",
            Verdict(False, 1, "its rule accept[1] allows GET, HEAD"),
        ),
    ],
)
def test_one_rule_must_allow_caller_service_and_method(
    owner: Cloud, method: str | None, verdict: Verdict
) -> None:
    assert evaluate_rules(owner, CALLER, "image", method) == verdict


@pytest.mark.parametrize(
    ("owner", "method", "verdict"),
    [
        (rules(AcceptRule(clouds=BY_NAME)), "GET", Verdict(True, 0, "")),
        (
            rules(AcceptRule(clouds=BY_NAME, fanout=False)),
            None,
            Verdict(False, 0, "its rule accept[0] allows no fan-out"),
        ),
        (
            rules(AcceptRule(clouds=BY_NAME, fanout=False), AcceptRule(clouds=BY_LABEL)),
            "GET",
            Verdict(True, 1, ""),
        ),
        (
            rules(
                AcceptRule(clouds=BY_LABEL, methods=READS),
                AcceptRule(clouds=BY_NAME, fanout=False),
            ),
            "POST",
            Verdict(False, 0, "its rule accept[0] allows GET, HEAD"),
        ),
        (
            rules(AcceptRule(clouds=BY_NAME, services=("compute",), fanout=False)),
            "GET",
            Verdict(False, 0, "its rule accept[0] allows compute"),
        ),
    ],
)
def test_a_rule_may_allow_single_requests_only(
    owner: Cloud, method: str | None, verdict: Verdict
) -> None:
    assert evaluate_rules(owner, CALLER, "image", method, fanout=True) == verdict


@pytest.mark.parametrize(
    ("services", "allowed"),
    [
        (None, {"identity", "identity.validate"}),
        (("identity",), {"identity", "identity.validate"}),
        (("identity.validate",), {"identity.validate"}),
        (("image",), set()),
    ],
)
def test_allowing_identity_allows_validating_tokens(
    services: tuple[str, ...] | None, allowed: set[str]
) -> None:
    owner = rules(AcceptRule(clouds=BY_NAME, services=services))

    assert allowed == {
        service
        for service in ("identity", "identity.validate")
        if evaluate_rules(owner, CALLER, service, "GET").allowed
    }
