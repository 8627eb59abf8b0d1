"""From a cloud's policy to the RBAC of its peer: what the target itself enforces.

One matcher, in the routes of the peer, so that a change takes effect on the next request of a live
connection. It looks at the caller, which is the URI of its certificate, at the service and at the
method, as the Lua before it has found them, and at nothing else. Labels have become
names. Equal policies are equal bytes: the site's own name is not among them.

Invariant: what `control_plane.clouds.policy.judge` says, for every caller, service and method; but
where it denies for want of a service, without saying so.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from control_plane.clouds.policy import (
    VALIDATION,
    Policy,
    Rule,
    Selector,
    allows,
    methods_of,
    rule_name,
)
from control_plane.identity import spiffe_id
from control_plane.site import names
from xds.wire import any_message, field_bytes, field_string, field_varint

NONE = "none"
"""The name of the outcome where no rule that is about the service is for the caller."""

# xds.type.matcher.v3.Matcher, OnMatch, MatcherList, FieldMatcher, Predicate, PredicateList
_MATCHER_LIST, _MATCHER_TREE, _ON_NO_MATCH = 1, 2, 3
_NESTED, _ACTION = 1, 2
_MATCHERS = 1
_PREDICATE, _ON_MATCH = 1, 2
_SINGLE, _AND, _PREDICATES = 1, 3, 1
# SinglePredicate, StringMatcher, RegexMatcher, MatcherTree, MatchMap and its entries
_INPUT, _VALUE_MATCH = 1, 2
_SAFE_REGEX, _GOOGLE_RE2, _REGEX = 5, 1, 2
_EXACT_MATCH_MAP = 2
_MAP, _KEY, _VALUE = 1, 1, 2
# TypedExtensionConfig; envoy.config.rbac.v3.Action; RBAC, RBACPerRoute
_NAME, _TYPED_CONFIG = 1, 2
_ACTION_NAME, _ACTION_KIND, _DENY = 1, 2, 1
_MATCHER, _SHADOW_MATCHER, _RBAC = 4, 5, 2

_ACTION_TYPE = "type.googleapis.com/envoy.config.rbac.v3.Action"
_RBAC_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_PER_ROUTE_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_HEADER_INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_URI_SAN_INPUT = "type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"

Members = Callable[[Selector], Collection[str]]
"""From labels to the names of all clouds that bear them."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What some clouds may do with some services and methods."""

    services: tuple[str, ...] | None
    """None: all that no grant before it is about."""
    methods: tuple[str, ...] | None
    """The same of methods."""
    allowing: tuple[int, ...]
    """The rules that allow it to their clouds."""
    denying: tuple[int, ...]
    """The rules that are about these services, but not with these methods."""


def grants(policy: Policy) -> Iterator[Grant]:
    """Yield what a policy comes to: of all that are about a request, the first decides."""
    rules = policy.rules
    words = {VALIDATION, *(word for rule in rules for word in rule.services or ())}
    by_rules: dict[tuple[int, ...], list[str]] = {}
    for word in sorted(words):
        about = tuple(index for index, rule in enumerate(rules) if allows(rule.services, word))
        by_rules.setdefault(about, []).append(word)
    others = tuple(index for index, rule in enumerate(rules) if rule.services is None)
    for about, services in by_rules.items():
        if about != others:
            yield from _by_method(rules, tuple(services), about)
    yield from _by_method(rules, None, others)


def peer_policy(policy: Policy, members: Members, *, trust_domain: str | None) -> bytes:
    """Return the encoded `RBACPerRoute`, as an Any.

    Args:
        policy: What is enforced, or with `audit` only logged and counted.
        members: Who bears some labels now.
        trust_domain: Of the callers' certificates; None: peers speak without TLS, and callers are
            who they say.
    """
    clouds = [_clouds(rule, members) for rule in policy.rules]
    matchers = b""
    for grant in grants(policy):
        tree = _tree(policy.rules, grant, clouds, trust_domain)
        predicates = [
            _predicate(header, tuple(values))
            for header, values in ((names.SERVICE, grant.services), (names.METHOD, grant.methods))
            if values is not None
        ]
        if not predicates:
            matcher = field_bytes(_MATCHER_LIST, matchers) + field_bytes(_ON_NO_MATCH, tree)
            break
        matchers += field_bytes(
            _MATCHERS,
            field_bytes(_PREDICATE, _all_of(predicates)) + field_bytes(_ON_MATCH, tree),
        )
    if not matchers:
        matcher = field_bytes(_ON_NO_MATCH, tree)
    kind = _SHADOW_MATCHER if policy.audit else _MATCHER
    return any_message(_PER_ROUTE_TYPE, field_bytes(_RBAC, field_bytes(kind, matcher)))


@cache
def deny_all() -> bytes:
    """Return the encoded `RBAC` of a peer's filter: for a route that has no policy, as an Any."""
    nothing = field_bytes(_ON_NO_MATCH, _outcome(NONE, allowed=False))
    return any_message(_RBAC_TYPE, field_bytes(_MATCHER, nothing))


def _by_method(
    rules: Sequence[Rule], services: tuple[str, ...] | None, about: tuple[int, ...]
) -> Iterator[Grant]:
    words = sorted({word for index in about for word in rules[index].methods or ()})
    by_rules: dict[tuple[int, ...], list[str]] = {}
    for word in words:
        by_rules.setdefault(_allowing(rules, about, word), []).append(word)
    others = _allowing(rules, about, "")
    for allowing, methods in [*by_rules.items(), (others, None)]:
        if methods is None or allowing != others:
            denying = tuple(index for index in about if index not in allowing)
            yield Grant(services, None if methods is None else tuple(methods), allowing, denying)


def _allowing(rules: Sequence[Rule], about: tuple[int, ...], method: str) -> tuple[int, ...]:
    return tuple(
        index for index in about if (methods := rules[index].methods) is None or method in methods
    )


def _clouds(rule: Rule, members: Members) -> dict[str, None]:
    """Return the names of the clouds that a rule is for, each once, in a fixed order."""
    return dict.fromkeys(
        (*rule.names, *(name for each in rule.selectors for name in members(each)))
    )


def _tree(
    rules: Sequence[Rule], grant: Grant, clouds: Sequence[dict[str, None]], trust_domain: str | None
) -> bytes:
    """Return the `OnMatch` that looks at the caller."""
    outcomes: dict[str, bytes] = {}
    for index in grant.allowing:
        outcome = _outcome(rule_name(index), allowed=True)
        for cloud in clouds[index]:
            outcomes.setdefault(cloud, outcome)
    for index in grant.denying:
        outcome = _outcome(methods_of(index, rules[index].methods), allowed=False)
        for cloud in clouds[index]:
            outcomes.setdefault(cloud, outcome)
    if not outcomes:
        return _outcome(NONE, allowed=False)
    entries = b"".join(
        field_bytes(
            _MAP,
            field_string(_KEY, caller_key(cloud, trust_domain)) + field_bytes(_VALUE, outcome),
        )
        for cloud, outcome in outcomes.items()
    )
    tree = field_bytes(_INPUT, _caller_input(by_certificate=trust_domain is not None))
    tree += field_bytes(_EXACT_MATCH_MAP, entries)
    nested = field_bytes(_MATCHER_TREE, tree)
    nested += field_bytes(_ON_NO_MATCH, _outcome(NONE, allowed=False))
    return field_bytes(_NESTED, nested)


def caller_key(cloud: str, trust_domain: str | None) -> str:
    """Return what is compared: the URI of a certificate, or the header of a peer without TLS."""
    return cloud if trust_domain is None else spiffe_id(trust_domain, cloud)


@lru_cache(maxsize=1024)
def _outcome(name: str, *, allowed: bool) -> bytes:
    """Return an `OnMatch` that ends the search."""
    action = field_string(_ACTION_NAME, name)
    if not allowed:
        action += field_varint(_ACTION_KIND, _DENY)
    config = field_bytes(_TYPED_CONFIG, any_message(_ACTION_TYPE, action))
    return field_bytes(_ACTION, field_string(_NAME, "rbac") + config)


@cache
def _caller_input(*, by_certificate: bool) -> bytes:
    if not by_certificate:
        return _header_input(names.ORIGIN)
    # a certificate with several URIs gives all of them, with commas: nobody's name
    return field_string(_NAME, "uri") + field_bytes(_TYPED_CONFIG, any_message(_URI_SAN_INPUT, b""))


def _header_input(header: str) -> bytes:
    config = any_message(_HEADER_INPUT, field_string(1, header))
    return field_string(_NAME, "header") + field_bytes(_TYPED_CONFIG, config)


@lru_cache(maxsize=1024)
def _predicate(header: str, values: tuple[str, ...]) -> bytes:
    """Return a `Predicate` of a header that has to be one of some words, the whole of it."""
    pattern = "|".join(each.replace(".", "[.]") for each in values)
    regex = field_bytes(_GOOGLE_RE2, b"") + field_string(_REGEX, pattern)
    single = field_bytes(_INPUT, _header_input(header))
    single += field_bytes(_VALUE_MATCH, field_bytes(_SAFE_REGEX, regex))
    return field_bytes(_SINGLE, single)


def _all_of(predicates: Sequence[bytes]) -> bytes:
    if len(predicates) == 1:
        return predicates[0]
    return field_bytes(_AND, b"".join(field_bytes(_PREDICATES, each) for each in predicates))
