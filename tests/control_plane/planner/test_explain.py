"""Explanations of how a request is routed."""

import dataclasses
import json

import pytest

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    Cloud,
    CloudPattern,
    Endpoint,
    Peer,
    Service,
)
from scopeway.control_plane.planner.explain import Explanation, explain_request
from scopeway.control_plane.planner.planner import PlanSettings

SERVICES = {"image": Service(endpoints=(Endpoint(address="127.0.0.1", port=9292),))}
HOME = Cloud(name="cloud-1", services=SERVICES)
CLOUDS = Inventory().apply(
    {
        "cloud-1": HOME,
        "cloud-2": Cloud(
            name="cloud-2",
            services=SERVICES,
            accept=(AcceptRule(clouds=(CloudPattern(name="cloud-1"),)),),
        ),
        "closed": Cloud(name="closed", services=SERVICES),
    }
)


def explained(scope: str, service: str = "image") -> Explanation:
    return explain_request(scope, service, HOME, CLOUDS, PlanSettings())


def test_an_explanation_names_the_clouds_in_order_and_the_skipped_ones() -> None:
    assert explained("{glance: closed | cloud-2 | local}") == Explanation(
        target="image@closed|cloud-2|cloud-1",
        outcome="route",
        clouds=("cloud-2", "cloud-1"),
        skipped={
            "closed": "closed does not let cloud-1 use its image service: it has no accept rules"
        },
        rules={"cloud-2": "accept[0]"},
    )


def test_an_explanation_of_a_fanout_lists_members_and_missing_clouds_with_the_rules() -> None:
    assert explained("{glance: closed & cloud-2 & local & nowhere}") == Explanation(
        target="image@closed&cloud-2&cloud-1&nowhere",
        outcome="fanout",
        operator="&",
        clouds=("cloud-2", "cloud-1"),
        skipped={
            "closed": "closed does not let cloud-1 use its image service: it has no accept rules",
            "nowhere": "no cloud is named nowhere",
        },
        rules={"cloud-2": "accept[0]"},
    )


def test_an_explanation_of_a_fanout_keeps_members_whose_peer_denies_the_method() -> None:
    reads = AcceptRule(clouds=(CloudPattern(name="cloud-1"),), methods=("GET",))
    peer = Peer(address="127.0.0.1", port=8443)
    reader = Cloud(name="reader", services=SERVICES, accept=(reads,), peer=peer)
    clouds = CLOUDS.apply({"reader": reader})

    explanation = explain_request(
        "{glance: reader & cloud-2}", "image", HOME, clouds, PlanSettings(), "DELETE"
    )

    assert (explanation.outcome, explanation.clouds) == ("fanout", ("reader", "cloud-2"))
    assert explanation.rules["reader"] == "denied: its rule accept[0] allows GET"


def test_an_explanation_of_a_fanout_names_the_rule_that_allows_it_and_not_single_requests() -> None:
    single, all_ = (
        AcceptRule(clouds=(CloudPattern(name="cloud-1"),), fanout=fanout)
        for fanout in (False, True)
    )
    both = Cloud(name="both", services=SERVICES, accept=(single, all_))
    clouds = CLOUDS.apply({"both": both})

    def rule(scope: str) -> str:
        return explain_request(scope, "image", HOME, clouds, PlanSettings()).rules["both"]

    assert rule("{glance: both}") == "accept[0]"
    assert rule("{glance: both & local}") == "accept[1]"


def test_an_unbound_service_is_explained_as_the_local_cloud() -> None:
    explanation = explained("")

    assert (explanation.target, explanation.clouds) == ("image@cloud-1", ("cloud-1",))


def test_an_explanation_of_a_rejection_has_status_and_reason() -> None:
    explanation = explained("{*: cloud-9}")

    assert explanation == Explanation(
        target="image@cloud-9",
        outcome="reject",
        status=404,
        reason="no cloud is named cloud-9",
        skipped={},
    )


def test_the_first_of_several_rejections_is_the_reason_and_the_others_are_listed() -> None:
    explanation = explained("{glance: cloud-9 | cloud-8}")

    assert explanation.reason == "no cloud is named cloud-9"
    assert explanation.skipped == {"cloud-8": "no cloud is named cloud-8"}


def test_an_explanation_of_a_malformed_scope_has_no_target() -> None:
    explanation = explained("{glance: cloud-1 |}")

    assert (explanation.target, explanation.outcome, explanation.status) == (None, "reject", 400)
    assert explanation.reason is not None
    assert explanation.reason.startswith("column 19: ")


def test_an_explanation_can_be_encoded_as_json() -> None:
    document = json.loads(json.dumps(dataclasses.asdict(explained("glance:cloud-2"))))

    assert document == {
        "target": "image@cloud-2",
        "outcome": "route",
        "status": None,
        "reason": None,
        "operator": None,
        "clouds": ["cloud-2"],
        "skipped": {},
        "rules": {"cloud-2": "accept[0]"},
        "limits": {},
        "warnings": [],
    }


def test_binding_compute_without_network_gives_a_warning() -> None:
    (network, _) = explained("nova:cloud-2", "compute").warnings

    assert network == (
        "compute is at cloud-2 but network, which the scope doesn't bind, at cloud-1: "
        "what is made there can't be used; bind network too"
    )
    assert explained("nova:cloud-2", "network").warnings == (network,)


def test_binding_compute_together_with_network_gives_no_warning() -> None:
    assert explained("nova:cloud-2", "image").warnings == ()
    assert explained("glance:cloud-2", "compute").warnings == ()
    assert explained("*:cloud-2", "compute").warnings == ()
    assert explained("nova:cloud-2;neutron:cloud-1;cinder:cloud-1", "compute").warnings == ()


def test_an_explanation_names_a_cordon_with_its_reason() -> None:
    cordoned = CLOUDS.with_cordons({"cloud-2": "new disks"})
    settings = PlanSettings()
    alone = explain_request("glance:cloud-2", "image", HOME, cordoned, settings)
    first = explain_request("glance:cloud-2|local", "image", HOME, cordoned, settings)

    assert (alone.status, alone.reason) == (503, "cloud-2 is cordoned: new disks")
    assert first.skipped == {"cloud-2": "cloud-2 is cordoned: new disks"}


class TestMethods:
    """One cluster serves all methods; the target's own Envoy decides about them."""

    READS = (AcceptRule(clouds=(CloudPattern(name="cloud-1"),), methods=("GET", "HEAD")),)

    def clouds(self, *, peer: bool = True, mode: str = "enforce") -> Inventory:
        cloud = Cloud(
            name="cloud-2",
            services=SERVICES,
            peer=Peer(address="127.0.0.1", port=1) if peer else None,
            accept=self.READS,
            accept_mode=mode,
        )
        return CLOUDS.apply({"cloud-2": cloud})

    def explained(self, clouds: Inventory, method: str, scope: str = "cloud-2") -> Explanation:
        settings = PlanSettings()
        return explain_request(f"image:{scope}", "image", HOME, clouds, settings, method)

    def test_an_explanation_names_the_rule_that_allows_the_method(self) -> None:
        explanation = self.explained(self.clouds(), "HEAD")

        assert (explanation.outcome, explanation.rules) == ("route", {"cloud-2": "accept[0]"})

    def test_an_explanation_names_the_limits_of_the_caller(self) -> None:
        assert self.explained(self.clouds(), "HEAD").limits == {
            "cloud-2": "at most 5000 requests a second (peer.limits.requestsPerSecond), "
            "at most 2000 requests at once (peer.limits.requestsAtOnce)"
        }
        assert self.explained(self.clouds(peer=False), "HEAD").limits == {}

    def test_an_explanation_names_the_rule_that_denies_the_method(self) -> None:
        explanation = self.explained(self.clouds(), "PUT")

        assert (explanation.outcome, explanation.status) == ("reject", 403)
        assert explanation.reason == (
            "cloud-2 does not let cloud-1 use its image service: its rule accept[0] allows "
            "GET, HEAD"
        )

    def test_a_denial_at_a_later_alternative_does_not_reject_the_request(self) -> None:
        explanation = self.explained(self.clouds(), "PUT", "local|cloud-2")

        assert (explanation.outcome, explanation.clouds) == ("route", ("cloud-1", "cloud-2"))
        assert explanation.rules == {"cloud-2": "denied: its rule accept[0] allows GET, HEAD"}

    def test_audit_mode_explains_a_denied_method_as_let_through(self) -> None:
        explanation = self.explained(self.clouds(mode="audit"), "PUT")

        assert explanation.outcome == "route"
        assert explanation.rules["cloud-2"].startswith("let through by acceptMode audit, else")

    def test_a_cloud_without_a_peer_is_explained_as_not_enforcing_its_rules(self) -> None:
        explanation = self.explained(self.clouds(peer=False), "PUT")

        assert explanation.outcome == "route"
        assert explanation.rules["cloud-2"].startswith(
            "not enforced, because cloud-2 has no peer: "
        )


def test_an_explanation_names_a_policy_that_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    peer = Peer(address="127.0.0.1", port=1)
    rule = AcceptRule(clouds=(CloudPattern(name="cloud-1"),))
    owner = Cloud(name="cloud-2", services=SERVICES, peer=peer, accept=(rule,))
    inventory = CLOUDS.apply({"cloud-2": owner})

    def explanation() -> Explanation:
        return explain_request("{image: cloud-2}", "image", HOME, inventory, PlanSettings())

    assert explanation().outcome == "route"
    monkeypatch.setattr("scopeway.control_plane.planner.grants.MAX_GRANTS", 0)
    found = explanation()
    assert (found.outcome, found.status) == ("reject", 403)
    assert found.reason == (
        "cloud-2 does not let cloud-1 use its image service: its accept rules come to more than 0 "
        "different rights: 1 classes of clouds, each with its services and methods"
    )
