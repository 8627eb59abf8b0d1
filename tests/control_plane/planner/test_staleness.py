"""Plans and rejections while the registry is unreachable."""

import pytest

from harness.source import ANYBODY, cloud
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import AcceptRule, Cloud
from scopeway.control_plane.planner.plan import Rejection, Route
from scopeway.control_plane.planner.planner import PlanSettings, plan_target
from scopeway.control_plane.planner.staleness import mark_stale, unknown_caller
from scopeway.control_plane.scope import parse_target

UNTIL = 1_796_036_640.0
AWAY = "it has not been able to read its registry since 2026-11-30 11:04 UTC"
CALLER = cloud("cloud-1")
OTHERS = (
    cloud("cloud-2"),
    Cloud(name="empty", accept=(AcceptRule(clouds=(ANYBODY,)),)),
    Cloud(name="closed", services=CALLER.services),
)
INVENTORY = Inventory().apply({each.name: each for each in (CALLER, *OTHERS)})


def told(target: str) -> Route | Rejection:
    plan = plan_target(parse_target(target), CALLER, INVENTORY, PlanSettings())
    return mark_stale(plan, UNTIL)


def test_a_known_target_is_served_while_the_registry_is_unreachable() -> None:
    assert isinstance(told("image@cloud-2"), Route)
    assert isinstance(told("image@cloud-7|cloud-2"), Route)


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("image@cloud-7", "no cloud is named cloud-7"),
        ("image@empty", "empty has no image service"),
        ("image@[region=eu]", "no cloud has the labels [region=eu]"),
        ("identity.validate@cloud-7", "no cloud is named cloud-7"),
    ],
)
def test_an_unknown_target_is_a_503_while_the_registry_is_unreachable(
    target: str, reason: str
) -> None:
    assert told(target) == Rejection(
        status=503, reason=f"{reason}, or the control plane does not know it yet: {AWAY}"
    )


def test_a_denied_target_stays_a_403_while_the_registry_is_unreachable() -> None:
    refused = told("image@closed")

    assert isinstance(refused, Rejection)
    assert refused.status == 403
    assert refused.reason.startswith("closed does not let cloud-1 use its image service: ")
    assert refused.reason.endswith(f" ({AWAY})")


def test_a_token_that_is_not_honoured_stays_a_404_while_the_registry_is_unreachable() -> None:
    plan = Rejection(status=404, reason="cloud-1 does not honour it", cause="policy")

    assert mark_stale(plan, UNTIL) == Rejection(
        status=404, reason=f"cloud-1 does not honour it ({AWAY})"
    )


def test_an_error_in_the_target_itself_is_unchanged_while_the_registry_is_unreachable() -> None:
    plan = Rejection(status=400, reason="column 1: no such thing")

    assert mark_stale(plan, UNTIL) is plan
    assert told("image@cloud-2|cloud-7&local") == Rejection(
        status=501, reason="an expression with '|' takes no '&'"
    )


def test_a_site_whose_cloud_is_unknown_is_rejected_with_a_503() -> None:
    assert unknown_caller("cloud-1", None).reason == "the cloud of this site, cloud-1, is unknown"
    assert unknown_caller("cloud-1", UNTIL) == Rejection(
        status=503,
        reason=f"the cloud of this site, cloud-1, is unknown to the control plane: {AWAY}",
    )
