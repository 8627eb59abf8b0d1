"""Explains the plan of one request in words: `scopeway explain`."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from scopeway.control_plane.clouds.caller_limits import limits_text
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import (
    AUDIT,
    Verdict,
    evaluate_rules,
    policy_of,
    rule_name,
)
from scopeway.control_plane.planner.access import denial_sentence
from scopeway.control_plane.planner.grants import policy_problem
from scopeway.control_plane.planner.plan import Fanout, Rejection
from scopeway.control_plane.planner.planner import PlanSettings, plan_with_skipped
from scopeway.control_plane.scope import (
    CompletedScope,
    Scope,
    ScopeError,
    Target,
    complete_scope,
    parse_scope,
    target_name,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What serves one service of one scope, and why."""

    target: str | None
    """The target name; None if the scope is not valid."""
    outcome: Literal["route", "fanout", "reject"]
    status: int | None = None
    """The HTTP status of the rejection; None if there is none."""
    reason: str | None = None
    """The reason of the rejection; None if there is none."""
    operator: str | None = None
    """Of a fan-out: "&" for all of its clouds, "^" for the one that has the resource."""
    clouds: tuple[str, ...] = ()
    """The clouds of the route, the first choice first; all clouds that a fan-out asks."""
    skipped: dict[str, str]
    """The clouds that the plan leaves out, each with the reason; of a fan-out those that cannot be
    asked, which each answer reports."""
    rules: dict[str, str] = field(default_factory=dict)
    """For each other cloud of these, the rule of its policy that decides, or the denial."""
    limits: dict[str, str] = field(default_factory=dict)
    """For each other cloud of these with a peer, its limits for the caller."""
    warnings: tuple[str, ...] = ()
    """Effects of the scope that are probably not intended."""


FOLLOWERS: Final = {"compute": ("network", "block-storage")}
"""Services that must be at the same cloud as the first one, because it uses their resources."""


def explain_request(
    scope: str,
    service: str,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
    method: str | None = None,
) -> Explanation:
    """Explain what serves a request to a service at the site of `caller`, and why.

    Args:
        scope: As the user writes it; an empty scope is all local.
        service: An official service type.
        caller: The cloud whose front takes the request.
        inventory: All clouds.
        settings: The settings of the control plane.
        method: The method of the request, or FORM; None leaves methods out.
    """
    try:
        parsed = parse_scope(scope, inventory.service_types)
        completed = complete_scope(scope, caller.name, inventory.service_types)
    except ScopeError as error:
        return Explanation(
            target=None, outcome="reject", status=error.status, reason=str(error), skipped={}
        )
    name = target_name(service, completed.expression_for(service))
    target = Target(service=service, expression=parsed.expression_for(service))
    explanation = _explain_target(name, target, caller, inventory, settings, method)
    warnings = [*_warnings(parsed, completed, service)]
    if settings.trust_domain is None and not settings.insecure_peers:
        certified = replace(settings, trust_domain="any")
        other = _explain_target(name, target, caller, inventory, certified, method)
        if set(other.clouds) - set(explanation.clouds):
            where = (", " if other.operator else ", then ").join(other.clouds)
            warnings.append(f"where sites have certificates (--trust-domain) it goes to {where}")
    return replace(explanation, warnings=tuple(warnings))


def _explain_target(
    name: str,
    target: Target,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
    method: str | None,
) -> Explanation:
    plan, left_out = plan_with_skipped(target, caller, inventory, settings)
    skipped = {each.cloud: each.reason for each in left_out}
    if isinstance(plan, Rejection):
        return Explanation(
            target=name, outcome="reject", status=plan.status, reason=plan.reason, skipped=skipped
        )
    if isinstance(plan, Fanout):
        explanation = Explanation(
            target=name,
            outcome="fanout",
            operator=plan.operator,
            clouds=plan.members,
            skipped=skipped,
        )
    else:
        clouds = tuple(hop.cloud for hop in plan.hops)
        explanation = Explanation(target=name, outcome="route", clouds=clouds, skipped=skipped)
    return _with_rules(explanation, target.service, caller, inventory, method)


def _with_rules(
    explanation: Explanation,
    service: str,
    caller: Cloud,
    inventory: Inventory,
    method: str | None,
) -> Explanation:
    """Add the rules that decide, and the denial by the serving site for this method."""
    rules: dict[str, str] = {}
    limits: dict[str, str] = {}
    refused: str | None = None
    for name in explanation.clouds:
        owner = inventory.get(name)
        if owner is None or owner.name == caller.name:
            continue
        fanout = explanation.outcome == "fanout"
        verdict = evaluate_rules(owner, caller, service, method, fanout=fanout)
        if owner.peer is not None:
            limits[owner.name] = limits_text(owner, caller)
            if problem := policy_problem(policy_of(owner), inventory):
                verdict = Verdict(False, None, problem)
        said = rule_name(verdict.rule) if verdict.rule is not None and verdict.allowed else ""
        if not verdict.allowed:
            said = f"denied: {verdict.reason}"
            if owner.accept_mode == AUDIT:
                said = f"let through by acceptMode audit, else {said}"
            elif owner.peer is not None and name == explanation.clouds[0]:
                # the first cloud answers; a 403 is not retried at another cloud
                refused = denial_sentence(owner.name, caller.name, service, verdict.reason)
            elif owner.peer is None:
                said = f"not enforced, because {owner.name} has no peer: {verdict.reason}"
        rules[owner.name] = said
    if refused is None or explanation.outcome == "fanout":
        return replace(explanation, rules=rules, limits=limits)
    return replace(
        explanation, outcome="reject", status=403, reason=refused, clouds=(), rules=rules
    )


def _warnings(parsed: Scope, completed: CompletedScope, service: str) -> Iterator[str]:
    bound = {binding.service for binding in parsed.bindings}
    for leader, followers in FOLLOWERS.items():
        leading = completed.expression_for(leader)
        for follower in followers:
            following = completed.expression_for(follower)
            if service in (leader, follower) and follower not in bound and following != leading:
                yield (
                    f"{leader} is at {leading} but {follower}, which the scope doesn't bind, at "
                    f"{following}: what is made there can't be used; bind {follower} too"
                )
