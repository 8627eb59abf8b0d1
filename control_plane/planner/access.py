"""Whether a cloud lets another cloud use a service, and what it accepts of foreign tokens.

Everything is denied that no `accept` rule allows; a cloud always accepts itself. The plan is not
the enforcement: it tells the user the reason early. The serving site enforces the same rules
(`translator.rbac`), and does not rely on the plan.
"""

from functools import lru_cache
from hashlib import sha256

from scopeway.control_plane.clouds.manifest import DEFAULT_ROLES
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import (
    AUDIT,
    evaluate_rules,
    lists_cloud,
)
from scopeway.control_plane.planner.plan import IdentityMapping
from scopeway.control_plane.scope import IDENTITY_VALIDATE


def denial_reason(
    owner: Cloud,
    caller: Cloud,
    service: str,
    method: str | None = None,
    *,
    fanout: bool = False,
) -> str | None:
    """Return why `owner` does not let `caller` use its service, or None if it does.

    Args:
        owner: The cloud that has the service.
        caller: The cloud that sends the request.
        service: An official service type or `identity.validate`.
        method: The method; None if any method is enough. Plans use None, because one plan serves
            all methods; the serving site decides about each.
        fanout: Whether the request is part of a fan-out.
    """
    if owner.name == caller.name or owner.accept_mode == AUDIT:
        return None
    verdict = evaluate_rules(owner, caller, service, method, fanout=fanout)
    return (
        None
        if verdict.allowed
        else denial_sentence(owner.name, caller.name, service, verdict.reason)
    )


def denial_sentence(owner: str, caller: str, service: str, why: str) -> str:
    """Return the reason of a denial as a sentence for the user."""
    use = "validate its tokens" if service == IDENTITY_VALIDATE else f"use its {service} service"
    return f"{owner} does not let {caller} {use}: {why}"


def identity_mapping(owner: Cloud, issuer: Cloud) -> IdentityMapping | None:
    """Return what `owner` accepts of tokens that the identity service of `issuer` issued.

    If several rules of `owner` name the issuer, a role counts if all of them list it, and ids are
    kept if all of them keep ids. None if no rule names the issuer.
    """
    if owner.name == issuer.name:
        return IdentityMapping(roles=DEFAULT_ROLES, namespace="")
    rules = [
        rule.identity
        for rule in owner.accept
        if rule.identity is not None and lists_cloud(rule.identity, issuer)
    ]
    if not rules:
        return None
    roles = frozenset(rules[0].roles).intersection(*(rule.roles for rule in rules))
    kept = all(rule.ids == "kept" for rule in rules)
    return IdentityMapping(
        roles=tuple(sorted(roles)), namespace="" if kept else namespace(issuer.name)
    )


@lru_cache(maxsize=4096)
def namespace(cloud: str) -> str:
    """Return the 16 hex digits that the mapped ids of a cloud's users and projects begin with.

    They depend only on the name of the cloud, so that an id never changes.
    """
    return sha256(cloud.encode()).hexdigest()[:16]
