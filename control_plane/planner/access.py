"""Who may use what: the `accept` rules of a cloud, decided when a target is compiled.

Everything is denied that no rule allows; a cloud always accepts itself. This says early why not;
the target's own Envoy decides again (`control_plane.translator.rbac`), and relies on nothing here.
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
    owner: Cloud, caller: Cloud, service: str, method: str | None = None
) -> str | None:
    """Return why `owner` does not let `caller` use its service, or None where it does.

    Args:
        owner: The cloud that is asked.
        caller: The cloud that asks.
        service: An official service type or `identity.validate`.
        method: None asks whether any method may be used: one cluster serves all of them, so about
            those the target's own Envoy decides.
    """
    if owner.name == caller.name or owner.accept_mode == AUDIT:
        return None
    verdict = evaluate_rules(owner, caller, service, method)
    return (
        None
        if verdict.allowed
        else denial_sentence(owner.name, caller.name, service, verdict.reason)
    )


def denial_sentence(owner: str, caller: str, service: str, why: str) -> str:
    """Return the sentence for who is denied."""
    use = "validate its tokens" if service == IDENTITY_VALIDATE else f"use its {service} service"
    return f"{owner} does not let {caller} {use}: {why}"


def identity_mapping(owner: Cloud, issuer: Cloud) -> IdentityMapping | None:
    """Return what counts of the tokens that the identity service of `issuer` gave out.

    Where several rules of `owner` name the issuer, a role counts that all of them list, and ids are
    kept if all of them say so. None: no rule names it.
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
    """Return the 16 hex digits that begin the ids of a foreign cloud's users and projects here.

    They depend on nothing but its name: a resource belongs to the same project after years.
    """
    return sha256(cloud.encode()).hexdigest()[:16]
