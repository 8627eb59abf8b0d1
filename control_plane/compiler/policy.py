"""Who may use what: the `accept` rules of a cloud, decided when a target is compiled.

Everything is denied that no rule allows; a cloud always accepts itself. Methods are not looked at
here: one cluster serves all of them, so the target's own Envoy decides about those.
"""

from collections.abc import Iterable, Mapping

from control_plane.clouds.model import Cloud, CloudPattern


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


def honours(owner: Cloud, issuer: Cloud) -> bool:
    """Say whether `owner` takes the tokens that the identity service of `issuer` gave out."""
    return owner.name == issuer.name or any(
        matches(pattern, issuer)
        for rule in owner.accept
        if rule.identity is not None
        for pattern in rule.identity.clouds
    )
