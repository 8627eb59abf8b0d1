"""The RBAC policy of a peer decides as its accept rules do."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy_data_plane.envoy.config.rbac.v3 import Action, RbacAction
from envoy_data_plane.envoy.extensions.filters.http.rbac.v3 import Rbac, RbacPerRoute
from envoy_data_plane.envoy.extensions.matching.common_inputs.network.v3 import DynamicMetadataInput
from envoy_data_plane.envoy.extensions.matching.common_inputs.ssl.v3 import UriSanInput
from envoy_data_plane.envoy.extensions.matching.input_matchers.metadata.v3 import Metadata
from envoy_data_plane.envoy.type.matcher.v3 import HttpRequestHeaderMatchInput
from envoy_data_plane.google.protobuf import Any as AnyMessage
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import AcceptRule, Cloud, CloudPattern
from scopeway.control_plane.clouds.policy import FORM, evaluate_rules, policy_of
from scopeway.control_plane.translator.rbac import NONE, deny_all, peer_policy

GOLDEN = Path(__file__).parents[2] / "testdata" / "site" / "policy.yaml"
DOMAIN = "fleet"
CALLERS = [
    Cloud(name="cloud-1", labels={"region": "eu", "tier": "edge"}),
    Cloud(name="cloud-2", labels={"region": "eu"}),
    Cloud(name="cloud-3", labels={"region": "us"}),
    Cloud(name="cloud-4"),
]
INVENTORY = Inventory().apply({each.name: each for each in CALLERS})


@dataclass
class Encoded:
    """What the two filters of a peer are told."""

    classes: Any
    """None: the second is told all."""
    rbac: Any


def encoded(
    owner: Cloud,
    trust_domain: str | None = DOMAIN,
    inventory: Inventory = INVENTORY,
    *,
    earlier: bool = False,
) -> Encoded:
    policy = policy_of(owner)
    made = peer_policy(policy, inventory, trust_domain=trust_domain, earlier=earlier)
    assert bool(made.classes) is not earlier
    return Encoded(_rbac(made.classes) if made.classes else None, _rbac(made.decision))


def _rbac(body: bytes) -> Rbac:
    per_route = AnyMessage.parse(body).unpack()
    assert isinstance(per_route, RbacPerRoute)
    assert AnyMessage.parse(bytes(AnyMessage.pack(per_route))).unpack() == per_route
    assert per_route.rbac is not None
    return per_route.rbac


def decided(policy: Encoded, seen: Mapping[str, str]) -> Action:
    """Return what the second filter comes to after the first one."""
    noted = None if policy.classes is None else decision(policy.classes.shadow_matcher, seen)
    metadata = {} if noted is None else {"class": noted.name}
    found = decision(policy.rbac.matcher, {**seen, **metadata})
    assert found is not None
    return found


def decision(matcher: Any, seen: Mapping[str, str]) -> Action | None:
    """Return what Envoy's matcher comes to, for the inputs that are used here."""
    found = None
    if matcher.matcher_list is not None:
        for each in matcher.matcher_list.matchers:
            if _holds(each.predicate, seen):
                found = each.on_match
                break
    elif matcher.matcher_tree is not None:
        value = seen.get(_input(matcher.matcher_tree.input))
        found = matcher.matcher_tree.exact_match_map.map.get(value)
    found = found or matcher.on_no_match
    if found is None:
        return None
    if found.matcher is not None:
        return decision(found.matcher, seen)
    action = found.action.typed_config.unpack()
    assert isinstance(action, Action)
    return action


def _holds(predicate: Any, seen: Mapping[str, str]) -> bool:
    if predicate.and_matcher is not None:
        return all(_holds(each, seen) for each in predicate.and_matcher.predicate)
    single = predicate.single_predicate
    if single.custom_match is not None:
        matcher = single.custom_match.typed_config.unpack()
        assert isinstance(matcher, Metadata)
        assert matcher.value is not None
        assert matcher.value.string_match is not None
        wanted = matcher.value.string_match.exact
        return seen.get(_input(single.input)) == wanted
    regex = single.value_match.safe_regex.regex
    value = seen.get(_input(single.input))
    return value is not None and re.fullmatch(regex, value) is not None


def _input(config: Any) -> str:
    found = config.typed_config.unpack()
    if isinstance(found, UriSanInput):
        return "uri"
    if isinstance(found, DynamicMetadataInput):
        assert found.filter == "envoy.filters.http.rbac"
        assert [each.key for each in found.path] == ["class_shadow_effective_policy_id"]
        return "class"
    assert isinstance(found, HttpRequestHeaderMatchInput)
    return found.header_name


SERVICES = ["image", "identity", "compute", "identity.validate"]
METHODS = ["GET", "HEAD", "POST"]
PATTERNS = st.sampled_from(
    [
        CloudPattern(name="cloud-1"),
        CloudPattern(name="cloud-3"),
        CloudPattern(name="cloud-9"),
        CloudPattern(labels={"region": "eu"}),
        CloudPattern(labels={"tier": "edge", "region": "eu"}),
        CloudPattern(labels={"region": "mars"}),
    ]
)
RULES = st.builds(
    AcceptRule,
    clouds=st.lists(PATTERNS, min_size=1, max_size=3).map(tuple),
    services=st.none() | st.lists(st.sampled_from(SERVICES), min_size=1, unique=True).map(tuple),
    methods=st.none() | st.lists(st.sampled_from(METHODS), min_size=1, unique=True).map(tuple),
    fanout=st.booleans(),
)


@given(st.lists(RULES, max_size=4).map(tuple), st.sampled_from([DOMAIN, None]), st.booleans())
def test_rbac_decides_as_the_accept_rules_do(
    rules: tuple[AcceptRule, ...], domain: str | None, earlier: bool
) -> None:
    owner = Cloud(name="cloud-7", accept=rules)
    policy = encoded(owner, domain, earlier=earlier)
    for caller in [*CALLERS, Cloud(name="cloud-9")]:
        for service, fanout in product([*SERVICES, "network"], [False, True]):
            for method in [*METHODS, "DELETE", FORM]:
                seen = {"x-scopeway-fanout": "2"} if fanout else {}
                seen |= {
                    "uri": f"spiffe://{DOMAIN}/cloud/{caller.name}",
                    "x-scopeway-origin": caller.name,
                    "x-scopeway-service": service,
                    "x-scopeway-method": method,
                }
                verdict = evaluate_rules(owner, caller, service, method, fanout=fanout)
                action = decided(policy, seen)

                assert (action.action == RbacAction.ALLOW) is verdict.allowed
                if verdict.allowed:
                    assert action.name == f"accept[{verdict.rule}]"
                elif action.name != NONE:
                    assert f"its rule {action.name}" == verdict.reason


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "cloud-1",
        "spiffe://other/cloud/cloud-1",
        "spiffe://fleet/cloud/cloud-1,spiffe://fleet/cloud/cloud-3",
        "spiffe://fleet/cloud/CLOUD-1",
        "spiffe://fleet/cloud/cloud-1/",
        "spiffe://fleet/control-plane",
    ],
)
def test_rbac_accepts_no_other_name_for_a_cloud(uri: str) -> None:
    owner = Cloud(name="cloud-7", accept=(AcceptRule(clouds=(CloudPattern(name="cloud-1"),)),))
    policy = encoded(owner)

    seen = {"uri": uri, "x-scopeway-service": "image", "x-scopeway-method": "GET"}
    assert decided(policy, seen).action == RbacAction.DENY
    seen["uri"] = "spiffe://fleet/cloud/cloud-1"
    assert decided(policy, seen).action == RbacAction.ALLOW


@pytest.mark.parametrize("earlier", [False, True])
def test_audit_mode_moves_the_same_matcher_to_the_shadow_rules(earlier: bool) -> None:
    rules = (AcceptRule(clouds=(CloudPattern(name="cloud-1"),), methods=("GET",)),)
    audit = Cloud(name="cloud-7", accept=rules, accept_mode="audit")
    enforced = encoded(Cloud(name="cloud-7", accept=rules), earlier=earlier).rbac
    audited = encoded(audit, earlier=earlier).rbac

    assert enforced.shadow_matcher is None
    assert audited.matcher is None
    assert audited.shadow_matcher == enforced.matcher


def test_equal_rules_of_two_clouds_are_equal_policies() -> None:
    rules = (AcceptRule(clouds=(CloudPattern(labels={"tier": "edge", "region": "eu"}),)),)
    same = (AcceptRule(clouds=(CloudPattern(labels={"region": "eu", "tier": "edge"}),)),)
    one, other = (
        policy_of(Cloud(name=name, accept=accept)) for name, accept in (("a", rules), ("b", same))
    )

    assert (one, hash(one)) == (other, hash(other))


def test_without_a_policy_every_request_is_denied() -> None:
    rbac: Any = AnyMessage.parse(deny_all()).unpack()
    seen = {"uri": "spiffe://fleet/cloud/cloud-1"}
    found = decision(rbac.matcher, seen)

    assert found is not None
    assert found.action == RbacAction.DENY


def test_compiled_rbac_equals_the_golden_file(rewrite: bool) -> None:
    """The golden file has the policy of two rules."""
    eu = CloudPattern(labels={"region": "eu"})
    owner = Cloud(
        name="cloud-7",
        accept=(
            AcceptRule(clouds=(eu,), services=("image",), methods=("GET", "HEAD")),
            AcceptRule(clouds=(CloudPattern(name="cloud-3"),)),
        ),
    )
    policy = encoded(owner)
    parts = {"classes": policy.classes.to_dict(), "rbac": policy.rbac.to_dict()}
    made = yaml.safe_dump(parts, sort_keys=False, width=100)
    if rewrite:
        GOLDEN.write_text(made)

    assert made == GOLDEN.read_text()
