"""Translates a cloud's policy into the RBAC of its peer, which enforces it.

There are two filters. Their configuration is in the routes of the peer, so that a change takes
effect on the next request of a live connection. The first filter finds the class of the caller
(`planner.caller_classes`): a map from the URI of its certificate to the number of the class. It is
a shadow rule, which only writes the class to the request's metadata. The second filter decides by
class, service and method (`planner.grants`); the Lua before it found service and method. So each
caller is in the configuration once, whatever the number of rules, services and methods. A caller
without a class is denied.

Labels are resolved to names. Equal policies are equal bytes: the site's own name is not in them.

Invariant: the result agrees with `control_plane.clouds.policy.evaluate_rules` for every caller,
service and method, but it does not say when it denies for want of a service. A policy that is too
large denies everything.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final, TypeAlias

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.policy import (
    Policy,
    denial_text,
    rule_name,
)
from scopeway.control_plane.collections.byte_cache import ByteBoundedCache
from scopeway.control_plane.identity import spiffe_id
from scopeway.control_plane.planner.caller_classes import (
    Block,
    CallerClass,
    PolicyTooLarge,
    caller_classes,
)
from scopeway.control_plane.planner.grants import (
    MAX_GRANTS,
    ClassGrants,
    Grant,
    grants_by_class,
    grants_of_class,
    problem_text,
    refuses_fanouts,
    rules_by_word,
)
from scopeway.control_plane.translator import names
from scopeway.xds.encoding.protobuf import (
    any_message,
    field_bytes,
    field_string,
    field_varint,
    nested,
)
from scopeway.xds.steps import Steps, finish

NONE = "none"
"""The name of the outcome where no rule that is about the service is for the caller."""

TOO_LARGE = "too-large"
"""The name of the outcome where a policy is too large to be worked out: nobody is let in."""

MAX_ALONE: Final = 8 << 20
"""Bytes of a policy for Envoys of an earlier version; a larger one is sent to them as to others,
and they deny what comes over connections from before an upgrade. gRPC takes some 2 ms to copy each
MiB of a response, in one turn of the event loop."""
_KEY_BYTES: Final = 160
"""Of an entry of the map, all but what it means."""

_CLASS = "class_"
_RBAC_METADATA = "envoy.filters.http.rbac"
"""Where Envoy's RBAC notes what its matchers came to; with a prefix for the first filter."""
_CLASS_KEY = f"{_CLASS}shadow_effective_policy_id"
_CACHE_ENTRIES: Final = 32 << 20
"""Bytes of encoded callers that are kept: a block of the inventory is encoded once, however many
policies and changes of other clouds there are."""

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
_SHADOW_PREFIX, _MATCHER, _SHADOW_MATCHER, _RBAC = 3, 4, 5, 2
# DynamicMetadataInput and a segment of its path
_FILTER, _PATH, _SEGMENT_KEY = 1, 2, 1
# SinglePredicate; matching.input_matchers.metadata.v3.Metadata, ValueMatcher, StringMatcher
_CUSTOM_MATCH, _METADATA_VALUE, _VALUE_STRING, _EXACT = 3, 1, 3, 1

_ACTION_TYPE = "type.googleapis.com/envoy.config.rbac.v3.Action"
_RBAC_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_PER_ROUTE_TYPE = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_HEADER_INPUT = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_METADATA_INPUT = (
    "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.DynamicMetadataInput"
)
_METADATA_MATCHER = (
    "type.googleapis.com/envoy.extensions.matching.input_matchers.metadata.v3.Metadata"
)
_URI_SAN_INPUT = "type.googleapis.com/envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"


@dataclass(frozen=True, slots=True)
class PeerPolicy:
    """The two filters' configuration in the routes of a peer: encoded `RBACPerRoute`, as Any."""

    classes: bytes
    """"" where the decision needs none."""
    decision: bytes
    problem: str | None = None
    """Why nobody is let in, or would be; None where the policy is enforced as it is written."""


def peer_policy(
    policy: Policy, inventory: Inventory, *, trust_domain: str | None, earlier: bool = False
) -> PeerPolicy:
    """Return what a peer enforces.

    Args:
        policy: What is enforced, or with `audit` only logged and counted.
        inventory: All clouds.
        trust_domain: Of the callers' certificates; None: peers speak without TLS, and callers are
            who they say.
        earlier: Whether its Envoys may have listeners of an earlier version (`Setup`), which have
            the second filter only. Theirs looks at the caller itself, so that it needs no first
            one: larger, and right for listeners of both versions.
    """
    try:
        classes: Classes = caller_classes(policy, inventory)
    except PolicyTooLarge as error:
        classes = error
    return finish(peer_policy_steps(policy, classes, trust_domain=trust_domain, earlier=earlier))


Classes: TypeAlias = list[CallerClass] | PolicyTooLarge
"""The classes of a policy's callers, or why they are not worked out."""


def peer_policy_steps(
    policy: Policy, classes: Classes, *, trust_domain: str | None, earlier: bool = False
) -> Steps[PeerPolicy]:
    """Do what `peer_policy` does, in steps.

    Args:
        policy: As there.
        classes: Of its callers.
        trust_domain: As there.
        earlier: As there.
    """
    problem = None
    classes_too = True
    try:
        if isinstance(classes, PolicyTooLarge):
            raise classes
        decision = yield from _decision(policy, classes)
        if earlier and (alone := (yield from _decision_alone(policy, classes, trust_domain))):
            decision, classes_too = alone, False
    except PolicyTooLarge as error:
        problem, classes = problem_text(policy, error), []
        decision = field_bytes(_ON_NO_MATCH, _outcome(TOO_LARGE, allowed=False))
    kind = _SHADOW_MATCHER if policy.audit else _MATCHER
    yield
    return PeerPolicy(
        classes=(yield from _callers(classes, trust_domain)) if classes_too else b"",
        decision=_per_route(nested(kind, [decision])),
        problem=problem,
    )


@cache
def deny_all() -> bytes:
    """Return the encoded `RBAC` of a peer's filter: for a route that has no policy, as an Any."""
    nothing = field_bytes(_ON_NO_MATCH, _outcome(NONE, allowed=False))
    return any_message(_RBAC_TYPE, field_bytes(_MATCHER, nothing))


@cache
def no_class() -> bytes:
    """Return the encoded `RBAC` of the filter before it: nobody has a class, as an Any."""
    return any_message(_RBAC_TYPE, field_string(_SHADOW_PREFIX, _CLASS))


def _callers(classes: Sequence[CallerClass], trust_domain: str | None) -> Steps[bytes]:
    """Return the encoded `RBACPerRoute` of the first filter, as an Any."""
    entries: list[bytes] = []
    for number, each in enumerate(classes):
        for block in each.blocks:
            entries.append(_entries(block, number, trust_domain))
            yield
        entries.append(_encode(each.others, _class_of(number), trust_domain))
        yield
    if not classes:
        matcher = [field_bytes(_ON_NO_MATCH, _outcome(NONE, allowed=True))]
    else:
        matcher = _by_caller(entries, trust_domain)
    prefix = field_string(_SHADOW_PREFIX, _CLASS)
    return _per_route([prefix, *nested(_SHADOW_MATCHER, matcher)])


def _per_route(rbac: Iterable[bytes]) -> bytes:
    """Return the encoded `RBACPerRoute` with the fields of an `RBAC`, as an Any."""
    return b"".join([field_string(1, _PER_ROUTE_TYPE), *nested(2, nested(_RBAC, rbac))])


_encoded: ByteBoundedCache[tuple[str | None, int, Block], bytes] = ByteBoundedCache(
    _CACHE_ENTRIES, lambda key, entries: len(entries) + 100 * len(key[2]) + 200
)


def _entries(block: Block, number: int, trust_domain: str | None) -> bytes:
    """Return the entries of the map for the callers of a block, which are in class `number`."""
    key = (trust_domain, number, block)
    return _encoded.get(key) or _encoded.put(key, _encode(block, _class_of(number), trust_domain))


def _class_of(number: int) -> bytes:
    return _outcome(str(number), allowed=True)


def _by_caller(entries: Iterable[bytes], trust_domain: str | None) -> list[bytes]:
    """Return the field of a `Matcher` that looks up the caller in a map."""
    by_caller = _caller_input(by_certificate=trust_domain is not None)
    return nested(
        _MATCHER_TREE, [field_bytes(_INPUT, by_caller), *nested(_EXACT_MATCH_MAP, entries)]
    )


def _encode(callers: Sequence[str], on_match: bytes, trust_domain: str | None) -> bytes:
    """Return entries of the map: for each of the callers the same `OnMatch`."""
    # they differ by the name and its length: text, which joins quickly
    value = field_bytes(_VALUE, on_match)
    tail = value.decode("latin-1")
    lengths = set(map(len, callers))
    heads = {length: _head(length, value, trust_domain) for length in lengths}
    entries = [f"{heads[len(name)]}{name}{tail}" for name in callers]
    return "".join(entries).encode("latin-1")


def _head(length: int, value: bytes, trust_domain: str | None) -> str:
    """Return what comes before a name of some length in an entry of the map."""
    before = caller_key("", trust_domain)
    entry = (field_string(_KEY, before + "x" * length), value)
    head = b"".join(nested(_MAP, entry)[:-1])
    return head[: len(head) - length].decode("latin-1")


def _decision(policy: Policy, classes: Sequence[CallerClass]) -> Steps[bytes]:
    """Return the `Matcher` that looks at the class, the service and the method.

    Raises:
        PolicyTooLarge: more than MAX_GRANTS.
    """
    matchers = []
    for number, found in enumerate(grants_by_class(policy, classes)):
        matchers.append(
            field_bytes(
                _MATCHERS,
                field_bytes(_PREDICATE, _is_class(number))
                + field_bytes(_ON_MATCH, _on_class(policy, found)),
            )
        )
        yield
    nobody = field_bytes(_ON_NO_MATCH, _outcome(NONE, allowed=False))
    if not matchers:
        return nobody
    return b"".join([*nested(_MATCHER_LIST, matchers), nobody])


def _decision_alone(
    policy: Policy, classes: Sequence[CallerClass], trust_domain: str | None
) -> Steps[bytes | None]:
    """Return the `Matcher` that looks at the caller, the service and the method.

    None where it would be too large. Only for peers with an Envoy that was started with a bootstrap
    of the version before (`setup.EARLIER`), and to be removed with that.
    """
    words = rules_by_word(policy)
    in_fanouts = rules_by_word(policy, fanout=True) if refuses_fanouts(policy) else None
    entries: list[bytes] = []
    left = MAX_ALONE
    for each in classes:
        found = ClassGrants(
            list(grants_of_class(words, each.rules)),
            None if in_fanouts is None else list(grants_of_class(in_fanouts, each.rules)),
        )
        on_match = _on_class(policy, found)
        for callers in (*each.blocks, each.others):
            left -= len(callers) * (len(on_match) + _KEY_BYTES)
            if left < 0:
                return None
            entries.append(_encode(callers, on_match, trust_domain))
            yield
    nobody = field_bytes(_ON_NO_MATCH, _outcome(NONE, allowed=False))
    return b"".join([*(_by_caller(entries, trust_domain) if classes else ()), nobody])


def _on_class(policy: Policy, found: ClassGrants) -> bytes:
    """Return the `OnMatch` that looks at service and method, and whether it is a fan-out."""
    plain = _on_grants(policy, found.plain, fanout=False)
    if found.fanout is None:
        return plain
    on_fanout = _on_grants(policy, found.fanout, fanout=True)
    matcher = field_bytes(_PREDICATE, _is_fanout()) + field_bytes(_ON_MATCH, on_fanout)
    return field_bytes(
        _NESTED,
        field_bytes(_MATCHER_LIST, field_bytes(_MATCHERS, matcher))
        + field_bytes(_ON_NO_MATCH, plain),
    )


def _on_grants(policy: Policy, found: Sequence[Grant], *, fanout: bool) -> bytes:
    """Return the `OnMatch` that looks at service and method."""
    matchers = b""
    for grant in found:
        outcome = _outcome_of(policy, grant, fanout)
        predicates = [
            _predicate(header, tuple(values))
            for header, values in ((names.SERVICE, grant.services), (names.METHOD, grant.methods))
            if values is not None
        ]
        if not predicates:  # the last
            if not matchers:
                return outcome
            break
        matchers += field_bytes(
            _MATCHERS,
            field_bytes(_PREDICATE, _all_of(predicates)) + field_bytes(_ON_MATCH, outcome),
        )
    whole = field_bytes(_MATCHER_LIST, matchers) + field_bytes(_ON_NO_MATCH, outcome)
    return field_bytes(_NESTED, whole)


def _outcome_of(policy: Policy, grant: Grant, fanout: bool) -> bytes:
    if grant.rule is None:
        return _outcome(NONE, allowed=False)
    if grant.allowed:
        return _outcome(rule_name(grant.rule), allowed=True)
    return _outcome(denial_text(grant.rule, policy.rules[grant.rule], fanout), allowed=False)


def caller_key(cloud: str, trust_domain: str | None) -> str:
    """Return what is compared: the URI of a certificate, or the header of a peer without TLS."""
    return cloud if trust_domain is None else spiffe_id(trust_domain, cloud)


@lru_cache(maxsize=MAX_GRANTS)
def _is_class(number: int) -> bytes:
    """Return a `Predicate` of what the first filter has noted.

    Metadata is no text to Envoy's matchers, so a map can't look at it: classes are few.
    """
    value = field_bytes(_VALUE_STRING, field_string(_EXACT, str(number)))
    match = any_message(_METADATA_MATCHER, field_bytes(_METADATA_VALUE, value))
    matcher = field_string(_NAME, "class") + field_bytes(_TYPED_CONFIG, match)
    single = field_bytes(_INPUT, _class_input()) + field_bytes(_CUSTOM_MATCH, matcher)
    return field_bytes(_SINGLE, single)


@cache
def _class_input() -> bytes:
    segment = field_bytes(_PATH, field_string(_SEGMENT_KEY, _CLASS_KEY))
    config = any_message(_METADATA_INPUT, field_string(_FILTER, _RBAC_METADATA) + segment)
    return field_string(_NAME, "class") + field_bytes(_TYPED_CONFIG, config)


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
    return _matches(header, "|".join(each.replace(".", "[.]") for each in values))


@cache
def _is_fanout() -> bytes:
    """Return a `Predicate` of requests that are part of a fan-out."""
    return _matches(names.FANOUT, ".*")


def _matches(header: str, pattern: str) -> bytes:
    """Return a `Predicate` of a header that is there, and the whole of which fits a pattern."""
    regex = field_bytes(_GOOGLE_RE2, b"") + field_string(_REGEX, pattern)
    single = field_bytes(_INPUT, _header_input(header))
    single += field_bytes(_VALUE_MATCH, field_bytes(_SAFE_REGEX, regex))
    return field_bytes(_SINGLE, single)


def _all_of(predicates: Sequence[bytes]) -> bytes:
    if len(predicates) == 1:
        return predicates[0]
    return field_bytes(_AND, b"".join(field_bytes(_PREDICATES, each) for each in predicates))
