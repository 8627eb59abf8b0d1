"""Who may use what: the `accept` rules of a cloud, decided when a target is compiled.

Everything is denied that no rule allows; a cloud always accepts itself. Methods are not looked at
here: one cluster serves all of them, so the target's own Envoy decides about those.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from hashlib import sha256

from control_plane.clouds.manifest import DEFAULT_ROLES
from control_plane.clouds.model import Cloud, CloudPattern
from control_plane.compiler.outcome import Honoured


def matches(pattern: CloudPattern, cloud: Cloud) -> bool:
    """Say whether one entry of a list of clouds means this cloud."""
    if pattern.name is not None:
        return pattern.name == cloud.name
    return bears(cloud, pattern.labels.items())


def bears(cloud: Cloud, labels: Iterable[tuple[str, str]]) -> bool:
    """Say whether a cloud has all of these labels."""
    own: Mapping[str, str] = cloud.labels
    return all(own.get(label) == value for label, value in labels)


def refusal(owner: Cloud, caller: Cloud, service: str) -> str | None:
    """Return why `owner` does not let `caller` use its service, or None where it does."""
    if owner.name == caller.name:
        return None
    naming = None
    for index, rule in enumerate(owner.accept):
        if not any(matches(pattern, caller) for pattern in rule.clouds):
            continue
        if rule.services is None or service in rule.services:
            return None
        naming = index if naming is None else naming
    denied = f"{owner.name} does not let {caller.name} use its {service} service"
    if not owner.accept:
        return f"{denied}: it has no accept rules"
    if naming is None:
        return f"{denied}: none of its accept rules names {caller.name}"
    services = ", ".join(owner.accept[naming].services or ()) or "no service"
    return f"{denied}: its rule accept[{naming}] allows {services}"


def honoured(owner: Cloud, issuer: Cloud) -> Honoured | None:
    """Return what counts of the tokens that the identity service of `issuer` gave out.

    Where several rules of `owner` name the issuer, a role counts that all of them list, and ids are
    kept if all of them say so. None: no rule names it.
    """
    if owner.name == issuer.name:
        return Honoured(roles=DEFAULT_ROLES, namespace="")
    rules = [
        rule.identity
        for rule in owner.accept
        if rule.identity is not None
        and any(matches(pattern, issuer) for pattern in rule.identity.clouds)
    ]
    if not rules:
        return None
    roles = frozenset(rules[0].roles).intersection(*(rule.roles for rule in rules))
    kept = all(rule.ids == "kept" for rule in rules)
    return Honoured(roles=tuple(sorted(roles)), namespace="" if kept else namespace(issuer.name))


@lru_cache(maxsize=4096)
def namespace(cloud: str) -> str:
    """Return the 16 hex digits that begin the ids of a foreign cloud's users and projects here.

    They depend on nothing but its name: a resource belongs to the same project after years.
    """
    return sha256(cloud.encode()).hexdigest()[:16]
