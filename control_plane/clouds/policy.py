"""Who may use a cloud's services: its `accept` rules as a value, and what they say of one request.

Everything is denied that no rule allows. Pure, and shared by both who decide: the planner at the
origin, which has the callers' labels, and the RBAC of the target, for which labels become names.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from scopeway.control_plane.clouds.model import (
    NO_LIMITS,
    CallerLimits,
    Cloud,
    CloudList,
    CloudPattern,
)
from scopeway.control_plane.scope import IDENTITY_VALIDATE

IDENTITY = "identity"
"""A rule that allows this service also allows IDENTITY_VALIDATE."""

FORM = "form"
"""In the place of a method: the request may carry a form, in which services find another method. No
rule can name it, so only those for all methods allow it."""

AUDIT = "audit"
ENFORCE = "enforce"
MODES = (ENFORCE, AUDIT)

_FEW = 4
"""Labels of a selector that is remembered: 4096 of them take some 5 MiB at most."""

Selector = tuple[tuple[str, str], ...]
"""Labels that must all be equal; at least one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the rules of a cloud say of a request."""

    allowed: bool
    rule: int | None
    """Which rule allows it, or comes nearest to it; None: none is for that caller."""
    reason: str
    """Why it is denied; "" where it is allowed."""


def evaluate_rules(owner: Cloud, caller: Cloud, service: str, method: str | None = None) -> Verdict:
    """Return what the rules of `owner` say of a request of another cloud, whatever the mode.

    Args:
        owner: The cloud that is asked.
        caller: The cloud that asks.
        service: An official service type or IDENTITY_VALIDATE.
        method: FORM for a request that may carry one; None asks whether any method is allowed.
    """
    naming = about = None
    for index, rule in enumerate(owner.accept):
        if not lists_cloud(rule, caller):
            continue
        if allows_service(rule.services, service):
            if rule.methods is None or method is None or method in rule.methods:
                return Verdict(True, index, "")
            about = index if about is None else about
        naming = index if naming is None else naming
    if about is not None:
        return Verdict(False, about, f"its rule {methods_text(about, owner.accept[about].methods)}")
    if naming is not None:
        services = ", ".join(owner.accept[naming].services or ()) or "no service"
        return Verdict(False, naming, f"its rule {rule_name(naming)} allows {services}")
    if owner.accept:
        return Verdict(False, None, f"none of its accept rules names {caller.name}")
    return Verdict(False, None, "it has no accept rules")


def lists_cloud(clouds: CloudList, cloud: Cloud) -> bool:
    """Say whether a list of clouds means this one. Costs O(entries that are labels)."""
    return cloud.name in clouds.names or any(pattern_matches(each, cloud) for each in clouds.others)


def pattern_matches(pattern: CloudPattern, cloud: Cloud) -> bool:
    """Say whether one entry of a list of clouds means this cloud."""
    if pattern.name is not None:
        return pattern.name == cloud.name
    return has_labels(cloud, pattern.labels.items())


def has_labels(cloud: Cloud, labels: Iterable[tuple[str, str]]) -> bool:
    """Say whether a cloud has all of these labels."""
    own = cloud.labels
    return all(own.get(label) == value for label, value in labels)


def allows_service(services: Collection[str] | None, service: str) -> bool:
    """Say whether the `services` of a rule hold a service; None are all."""
    return (
        services is None
        or service in services
        or (service == IDENTITY_VALIDATE and IDENTITY in services)
    )


def rule_name(index: int) -> str:
    """Return how people find a rule in the manifest."""
    return f"accept[{index}]"


def methods_text(index: int, methods: Collection[str] | None) -> str:
    """Return which methods a rule allows, in words."""
    return f"{rule_name(index)} allows {', '.join(methods or ()) or 'no method'}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One `accept` rule, but for its identity list: hashable, and equal where it says the same."""

    names: tuple[str, ...]
    selectors: tuple[Selector, ...]
    services: tuple[str, ...] | None
    methods: tuple[str, ...] | None
    limits: CallerLimits = NO_LIMITS


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules of a cloud, without its name: thousands of clouds may have equal ones."""

    rules: tuple[Rule, ...]
    audit: bool
    """True: what they deny is let through, logged and counted."""


def policy_of(cloud: Cloud) -> Policy:
    """Return the policy of a cloud."""
    rules = tuple(
        Rule(
            names=tuple(each.name for each in rule.clouds if each.name is not None),
            selectors=tuple(
                _sorted(frozenset(each.labels.items())) for each in rule.clouds if each.labels
            ),
            services=rule.services,
            methods=rule.methods,
            limits=rule.limits,
        )
        for rule in cloud.accept
    )
    return Policy(rules=rules, audit=cloud.accept_mode == AUDIT)


def _sorted(labels: frozenset[tuple[str, str]]) -> Selector:
    # anybody's labels: few of them are one value for all policies, many are not remembered
    return _known(labels) if len(labels) <= _FEW else tuple(sorted(labels))


@lru_cache(maxsize=4096)
def _known(labels: frozenset[tuple[str, str]]) -> Selector:
    return tuple(sorted(labels))
