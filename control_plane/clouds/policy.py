"""The policy of a cloud: its `accept` rules as a value, and their verdict on one request.

Everything is denied that no rule allows. Pure. Used at both ends: by the plan at the origin, and by
the RBAC of the serving site, where labels are resolved to names.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache

from scopeway.control_plane.clouds.model import (
    NO_LIMITS,
    AcceptRule,
    CallerLimits,
    Cloud,
    CloudList,
    CloudPattern,
)
from scopeway.control_plane.scope import IDENTITY_VALIDATE

IDENTITY = "identity"
"""A rule that allows this service also allows IDENTITY_VALIDATE."""

FORM = "form"
"""Stands for the method of a request that may contain a form, because services find another method
in it. No rule can name FORM, so only rules for all methods allow it."""

NO_FANOUT = "no fan-out"
"""The end of the denial of a request by a rule that allows none in a fan-out."""

AUDIT = "audit"
ENFORCE = "enforce"
MODES = (ENFORCE, AUDIT)

_FEW = 4
"""Labels of a selector that is cached: 4096 such selectors take at most 5 MiB."""

Selector = tuple[tuple[str, str], ...]
"""Labels that must all match; at least one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict of a cloud's rules on one request."""

    allowed: bool
    rule: int | None
    """The rule that allows the request, or the closest one; None if no rule is for the caller."""
    reason: str
    """The reason of a denial; "" if the request is allowed."""


def evaluate_rules(
    owner: Cloud,
    caller: Cloud,
    service: str,
    method: str | None = None,
    *,
    fanout: bool = False,
) -> Verdict:
    """Return the verdict of the rules of `owner` on a request of another cloud, in any mode.

    Args:
        owner: The cloud that has the service.
        caller: The cloud that sends the request.
        service: An official service type or IDENTITY_VALIDATE.
        method: FORM for a request that may carry one; None asks whether any method is allowed.
        fanout: Whether the request is part of a fan-out.
    """
    naming = about = None
    for index, rule in enumerate(owner.accept):
        if not lists_cloud(rule, caller):
            continue
        if allows_service(rule.services, service):
            if fanout and not rule.fanout:
                pass
            elif rule.methods is None or method is None or method in rule.methods:
                return Verdict(True, index, "")
            about = index if about is None else about
        naming = index if naming is None else naming
    if about is not None:
        return Verdict(False, about, f"its rule {denial_text(about, owner.accept[about], fanout)}")
    if naming is not None:
        services = ", ".join(owner.accept[naming].services or ()) or "no service"
        return Verdict(False, naming, f"its rule {rule_name(naming)} allows {services}")
    if owner.accept:
        return Verdict(False, None, f"none of its accept rules names {caller.name}")
    return Verdict(False, None, "it has no accept rules")


def lists_cloud(clouds: CloudList, cloud: Cloud) -> bool:
    """Return whether a list of clouds contains this one. O(entries that are labels)."""
    return cloud.name in clouds.names or any(pattern_matches(each, cloud) for each in clouds.others)


def pattern_matches(pattern: CloudPattern, cloud: Cloud) -> bool:
    """Return whether one entry of a list of clouds matches this cloud."""
    if pattern.name is not None:
        return pattern.name == cloud.name
    return has_labels(cloud, pattern.labels.items())


def has_labels(cloud: Cloud, labels: Iterable[tuple[str, str]]) -> bool:
    """Return whether a cloud has all of these labels."""
    own = cloud.labels
    return all(own.get(label) == value for label, value in labels)


def allows_service(services: Collection[str] | None, service: str) -> bool:
    """Return whether the `services` of a rule allow a service; None allows all."""
    return (
        services is None
        or service in services
        or (service == IDENTITY_VALIDATE and IDENTITY in services)
    )


def rule_name(index: int) -> str:
    """Return the place of a rule in the manifest."""
    return f"accept[{index}]"


def denial_text(index: int, rule: "AcceptRule | Rule", fanout: bool) -> str:
    """Return what a rule allows that is about a request and does not allow it, in words.

    `fanout`: whether the request is part of a fan-out.
    """
    if fanout and not rule.fanout:
        return f"{rule_name(index)} allows {NO_FANOUT}"
    return f"{rule_name(index)} allows {', '.join(rule.methods or ()) or 'no method'}"


@dataclass(frozen=True, slots=True)
class Rule:
    """One `accept` rule, but for its identity list: hashable, and equal where it says the same."""

    names: tuple[str, ...]
    selectors: tuple[Selector, ...]
    services: tuple[str, ...] | None
    methods: tuple[str, ...] | None
    limits: CallerLimits = NO_LIMITS
    fanout: bool = True


@dataclass(frozen=True, slots=True)
class Policy:
    """All rules of a cloud, without its name: clouds with equal rules have equal policies."""

    rules: tuple[Rule, ...]
    audit: bool
    """Whether denied requests are allowed, logged and counted."""


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
            fanout=rule.fanout,
        )
        for rule in cloud.accept
    )
    return Policy(rules=rules, audit=cloud.accept_mode == AUDIT)


def _sorted(labels: frozenset[tuple[str, str]]) -> Selector:
    # long selectors are not cached, because anybody may register them
    return _known(labels) if len(labels) <= _FEW else tuple(sorted(labels))


@lru_cache(maxsize=4096)
def _known(labels: frozenset[tuple[str, str]]) -> Selector:
    return tuple(sorted(labels))
