"""What a policy grants to each class of callers: the rule that decides, by service and method.

Pure. Of all rules that are about a request, the first that allows it decides.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.policy import IDENTITY, Policy
from scopeway.control_plane.planner.caller_classes import (
    CallerClass,
    PolicyTooLarge,
    caller_classes,
)
from scopeway.control_plane.scope import IDENTITY_VALIDATE

MAX_GRANTS: Final = 2048
"""Parts of all classes of callers of one policy together; some 0.2 to 2 kB and 6 us each."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What becomes of requests of a class of callers for some services with some methods."""

    services: tuple[str, ...] | None
    """None: all that no grant before it is about."""
    methods: tuple[str, ...] | None
    """The same of methods."""
    rule: int | None
    """The first rule that allows it, or else comes nearest to it; None: none is about it."""
    allowed: bool


@dataclass(frozen=True, slots=True)
class RulesByWord:
    """Which rules are about what, as sets of bits: bit i is rule i."""

    services: dict[str, int]
    methods: dict[str, int]
    other_services: int
    """The rules that are about a service that none names."""
    other_methods: int


@dataclass(frozen=True, slots=True)
class ClassGrants:
    """What becomes of the requests of a class, the first grant that is about a request first."""

    plain: list[Grant]
    """Of requests that are part of no fan-out."""
    fanout: list[Grant] | None
    """Of those that are; None: they get what others do, since no rule excludes them."""


def refuses_fanouts(policy: Policy) -> bool:
    """Return whether some rule of a policy allows no request that is part of a fan-out."""
    return not all(rule.fanout for rule in policy.rules)


def rules_by_word(policy: Policy, *, fanout: bool = False) -> RulesByWord:
    """Return which rules are about each word that some rule names. O(words of all rules).

    `fanout`: for requests that are part of a fan-out. A rule that allows none is about its services
    all the same, and allows no method.
    """
    services: dict[str, int] = {IDENTITY_VALIDATE: 0}
    methods: dict[str, int] = {}
    every_service = every_method = 0
    for index, rule in enumerate(policy.rules):
        bit = 1 << index
        if rule.services is None:
            every_service |= bit
        for word in rule.services or ():
            services[word] = services.get(word, 0) | bit
        if fanout and not rule.fanout:
            continue
        if rule.methods is None:
            every_method |= bit
        for word in rule.methods or ():
            methods[word] = methods.get(word, 0) | bit
    services[IDENTITY_VALIDATE] |= services.get(IDENTITY, 0)
    return RulesByWord(
        services={word: services[word] | every_service for word in sorted(services)},
        methods={word: methods[word] | every_method for word in sorted(methods)},
        other_services=every_service,
        other_methods=every_method,
    )


def grants_of_class(words: RulesByWord, rules: int) -> Iterator[Grant]:
    """Yield the grants of a class of callers, the first that is about a request first.

    `rules` has bit i for the rule i that is for this class. O(services x methods).
    """
    others = rules & words.other_services
    by_rules: dict[int, list[str]] = {}
    for word, mask in words.services.items():
        if rules & mask != others:
            by_rules.setdefault(rules & mask, []).append(word)
    for mask, services in by_rules.items():
        yield from _by_method(words, tuple(services), mask)
    yield from _by_method(words, None, others)


def grants_by_class(policy: Policy, classes: Sequence[CallerClass]) -> Iterator[ClassGrants]:
    """Yield the grants of each class, in the order of the classes.

    Raises:
        PolicyTooLarge: more than MAX_GRANTS.
    """
    words = rules_by_word(policy)
    in_fanouts = rules_by_word(policy, fanout=True) if refuses_fanouts(policy) else None
    left = MAX_GRANTS
    for each in classes:
        found = ClassGrants(list(islice(grants_of_class(words, each.rules), left + 1)), None)
        left -= len(found.plain)
        if in_fanouts is not None and left >= 0:
            fanout = list(islice(grants_of_class(in_fanouts, each.rules), left + 1))
            found = ClassGrants(found.plain, fanout)
            left -= len(fanout)
        if left < 0:
            raise PolicyTooLarge(
                f"its accept rules come to more than {MAX_GRANTS} different rights: "
                f"{len(classes)} classes of clouds, each with its services and methods"
            )
        yield found


def policy_problem(policy: Policy, inventory: Inventory) -> str | None:
    """Return why no Envoy can enforce a policy, so that it lets nobody in; None where one can."""
    try:
        for _ in grants_by_class(policy, caller_classes(policy, inventory)):
            pass
    except PolicyTooLarge as error:
        return problem_text(policy, error)
    return None


def problem_text(policy: Policy, error: PolicyTooLarge) -> str:
    """Return why a policy lets nobody in, and whether that denies anybody yet."""
    audit = "; as acceptMode is audit, nobody is denied yet" if policy.audit else ""
    return f"{error}{audit}"


def _by_method(words: RulesByWord, services: tuple[str, ...] | None, about: int) -> Iterator[Grant]:
    if not about:
        yield Grant(services, None, None, allowed=False)
        return
    others = _first(about & words.other_methods)
    by_rule: dict[int | None, list[str]] = {}
    for word, mask in words.methods.items():
        rule = _first(about & mask)
        if rule != others:
            by_rule.setdefault(rule, []).append(word)
    nearest = _first(about)
    for rule, methods in by_rule.items():
        yield _grant(services, tuple(methods), rule, nearest)
    yield _grant(services, None, others, nearest)


def _grant(
    services: tuple[str, ...] | None,
    methods: tuple[str, ...] | None,
    allowing: int | None,
    nearest: int | None,
) -> Grant:
    if allowing is not None:
        return Grant(services, methods, allowing, allowed=True)
    return Grant(services, methods, nearest, allowed=False)


def _first(rules: int) -> int | None:
    """Return the index of the first rule of a set."""
    return (rules & -rules).bit_length() - 1 if rules else None
