"""What a request would get, told to people: `scopeway explain`."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from scopeway.control_plane.clouds.caller_limits import limits_text
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import (
    AUDIT,
    Policy,
    Verdict,
    evaluate_rules,
    policy_of,
    rule_name,
)
from scopeway.control_plane.planner.access import denial_sentence
from scopeway.control_plane.planner.plan import PeerHop, Plan, Rejection, Route, Skipped
from scopeway.control_plane.planner.planner import PlanSettings, plan_with_skipped
from scopeway.control_plane.scope import (
    ScopeError,
    binding_for,
    parse_scope,
    parse_target,
    target_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What becomes of one service of one scope."""

    target: str | None
    """The target name; None where the scope makes none."""
    outcome: Literal["route", "reject"]
    status: int | None = None
    """What a rejected request is answered with; None for a route."""
    reason: str | None = None
    """Why it is rejected; None for a route."""
    clouds: tuple[str, ...] = ()
    """The clouds of the route, the first choice first."""
    skipped: dict[str, str]
    """The clouds that were left out on the way, each with its reason."""
    rules: dict[str, str] = field(default_factory=dict)
    """For each other cloud of the route what its policy says: which rule, or why not."""
    limits: dict[str, str] = field(default_factory=dict)
    """For each other cloud of the route with a peer, how much it takes of the caller."""
    warnings: tuple[str, ...] = ()
    """What the scope does that is rarely meant."""


PolicyProblem = Callable[[Policy, Inventory], str | None]

FOLLOWERS: Final = {"compute": ("network", "block-storage")}
"""A service to those whose resources it can use only where it is itself."""


def explain_request(
    scope: str,
    service: str,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
    method: str | None = None,
    *,
    policy_problem: PolicyProblem,
) -> Explanation:
    """Explain what a request to a service at the site of `caller` gets.

    Args:
        scope: As the user writes it; empty is all local.
        service: An official service type.
        caller: The cloud that is asked.
        inventory: All clouds.
        settings: As the control plane has them.
        method: Of the request, or FORM; None leaves methods out.
        policy_problem: Returns why the Envoys of a cloud cannot enforce its policy, or None.
    """
    try:
        parse_scope(scope)
        name = target_name(service, binding_for(scope, service, caller.name))
    except ScopeError as error:
        return _rejected_scope(None, error)
    explanation = explain_target(
        name, caller, inventory, settings, method, policy_problem=policy_problem
    )
    return replace(explanation, warnings=tuple(_rarely_meant(scope, service, caller.name)))


def explain_target(
    name: str,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
    method: str | None = None,
    *,
    policy_problem: PolicyProblem,
) -> Explanation:
    """Explain what the cluster of a target name is at the site of `caller`."""
    try:
        target = parse_target(name)
    except ScopeError as error:
        return _rejected_scope(name, error)
    plan, skipped = plan_with_skipped(target, caller, inventory, settings)
    explanation = _explanation(name, plan, skipped)
    if isinstance(plan, Rejection):
        return explanation
    return _with_rules(explanation, plan, target.service, caller, inventory, method, policy_problem)


def _with_rules(
    explanation: Explanation,
    route: Route,
    service: str,
    caller: Cloud,
    inventory: Inventory,
    method: str | None,
    policy_problem: PolicyProblem,
) -> Explanation:
    """Say which rules decide, and what the target's own Envoy refuses though the cluster exists."""
    rules: dict[str, str] = {}
    limits: dict[str, str] = {}
    refused: str | None = None
    for hop in route.hops:
        owner = inventory.get(hop.cloud)
        if owner is None or owner.name == caller.name:
            continue
        verdict = evaluate_rules(owner, caller, service, method)
        if isinstance(hop, PeerHop):
            limits[owner.name] = limits_text(owner, caller)
            if problem := policy_problem(policy_of(owner), inventory):
                verdict = Verdict(False, None, problem)
        said = rule_name(verdict.rule) if verdict.rule is not None and verdict.allowed else ""
        if not verdict.allowed:
            said = f"denied: {verdict.reason}"
            if owner.accept_mode == AUDIT:
                said = f"let through by acceptMode audit, else {said}"
            elif isinstance(hop, PeerHop) and hop is route.hops[0]:
                # Envoy takes the answer of the first; no other cloud is asked after a 403
                refused = denial_sentence(owner.name, caller.name, service, verdict.reason)
            elif not isinstance(hop, PeerHop):
                said = f"not enforced, as no Envoy of ours is there: {verdict.reason}"
        rules[owner.name] = said
    if refused is None:
        return replace(explanation, rules=rules, limits=limits)
    return replace(
        explanation, outcome="reject", status=403, reason=refused, clouds=(), rules=rules
    )


def _rarely_meant(scope: str, service: str, origin: str) -> Iterator[str]:
    bound = {binding.service for binding in parse_scope(scope).bindings}
    for leader, followers in FOLLOWERS.items():
        leading = binding_for(scope, leader, origin)
        for follower in followers:
            following = binding_for(scope, follower, origin)
            if service in (leader, follower) and follower not in bound and following != leading:
                yield (
                    f"{leader} is at {leading} but {follower}, which the scope doesn't bind, at "
                    f"{following}: what is made there can't be used; bind {follower} too"
                )


def _rejected_scope(name: str | None, error: ScopeError) -> Explanation:
    return Explanation(
        target=name, outcome="reject", status=error.status, reason=str(error), skipped={}
    )


def _explanation(name: str, plan: Plan, left_out: Iterable[Skipped]) -> Explanation:
    skipped = {each.cloud: each.reason for each in left_out}
    if isinstance(plan, Rejection):
        return Explanation(
            target=name, outcome="reject", status=plan.status, reason=plan.reason, skipped=skipped
        )
    clouds = tuple(hop.cloud for hop in plan.hops)
    return Explanation(target=name, outcome="route", clouds=clouds, skipped=skipped)
