"""Translates a cloud into the encoded route configurations of its front and its peer.

Appends what differs between sites to the templates of `route_templates`. The numbers below are the
field numbers of Envoy's API.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import Policy
from scopeway.control_plane.clouds.urls import is_secure
from scopeway.control_plane.planner.caller_classes import PolicyTooLarge, caller_class_steps
from scopeway.control_plane.translator import fanout_routes, names, route_templates
from scopeway.control_plane.translator.caller_limits import route_limits
from scopeway.control_plane.translator.listener_addresses import PeerTransport, entries
from scopeway.control_plane.translator.rbac import Classes, peer_policy_steps
from scopeway.control_plane.translator.route_parts import OwnRoute
from scopeway.xds.encoding.protobuf import field_bytes, field_string, field_varint, nested
from scopeway.xds.steps import Steps, finish

# RouteConfiguration, VirtualHost, Route, RouteMatch, HeaderMatcher, StringMatcher
_NAME, _VIRTUAL_HOSTS, _ROUTES, _MATCH, _PREFIX, _HEADERS = 1, 2, 3, 1, 1, 6
_TYPED_PER_FILTER_CONFIG, _KEY, _VALUE = 15, 1, 2
_PRESENT_MATCH, _STRING_MATCH, _EXACT, _SUFFIX, _CONTAINS = 7, 13, 1, 3, 7


@dataclass(frozen=True, slots=True)
class PeerRoutes:
    """The routes of a peer, with its policy."""

    body: bytes
    """The encoded `RouteConfiguration`."""
    problem: str | None
    """Why the policy lets nobody in; None where it is enforced as it is written."""


def peer_routes(
    policy: Policy,
    inventory: Inventory,
    *,
    trust_domain: str | None = None,
    earlier: bool = False,
) -> PeerRoutes:
    """Return the `RouteConfiguration` of a peer; equal policies have equal ones.

    Args:
        policy: Of the cloud.
        inventory: All clouds.
        trust_domain: Of the callers' certificates; None: peers speak without TLS.
        earlier: Whether an Envoy may have listeners of an earlier version (`Setup`).
    """
    return finish(peer_routes_steps(policy, inventory, trust_domain=trust_domain, earlier=earlier))


def peer_routes_steps(
    policy: Policy,
    inventory: Inventory,
    *,
    trust_domain: str | None = None,
    earlier: bool = False,
) -> Steps[PeerRoutes]:
    """Do what `peer_routes` does, in steps."""
    try:
        classes: Classes = yield from caller_class_steps(policy, inventory)
    except PolicyTooLarge as error:
        classes = error
    made = yield from peer_policy_steps(policy, classes, trust_domain=trust_domain, earlier=earlier)
    filters = [(names.CLASSES, made.classes)] if made.classes else []
    filters.append((names.RBAC, made.decision))
    # also of a policy with too many rights: in audit mode its callers get in
    if not isinstance(classes, PolicyTooLarge) and (
        limits := (yield from route_limits(policy, classes))
    ):
        filters.append((names.lua(names.PEER), limits))
    yield
    configs = (
        nested(
            _TYPED_PER_FILTER_CONFIG,
            [field_string(_KEY, filter_), *nested(_VALUE, [config])],
        )
        for filter_, config in filters
    )
    host = nested(_VIRTUAL_HOSTS, [route_templates.peer(), *chain.from_iterable(configs)])
    body = b"".join([field_string(_NAME, names.PEER), *host])
    yield  # who takes it makes its version, which is as slow as the copy
    return PeerRoutes(body, made.problem)


def front_routes(cloud: Cloud, peers: PeerTransport) -> Iterator[tuple[str, bytes]]:
    """Yield name and encoded `RouteConfiguration`, one for each port of a front."""
    check = field_bytes(
        _ROUTES, field_bytes(_MATCH, _has_been_at(cloud.name)) + route_templates.loop()
    )
    for entry in entries(cloud, peers):
        if entry.kind == names.PEER:
            continue
        behind_tls = cloud.front is not None and is_secure(cloud.front) and not cloud.front.tls
        host = route_templates.front(entry.name, behind_tls=behind_tls)
        own = (
            field_bytes(_ROUTES, field_bytes(_MATCH, _is_own(cloud.name, each)) + each.fields)
            for each in host.own
        )
        whole = b"".join((host.unnamed, check, host.head, *own, host.rest))
        yield entry.name, field_string(_NAME, entry.name) + field_bytes(_VIRTUAL_HOSTS, whole)


def collect_routes(cloud: Cloud) -> tuple[str, bytes]:
    """Return name and encoded `RouteConfiguration` of the listener `collect`."""
    host = fanout_routes.collect()
    own = field_bytes(_MATCH, _is_own(cloud.name, host.own)) + host.own.fields
    whole = b"".join((host.head, field_bytes(_ROUTES, own), host.rest))
    return names.COLLECT, field_string(_NAME, names.COLLECT) + field_bytes(_VIRTUAL_HOSTS, whole)


def _has_been_at(cloud: str) -> bytes:
    """A `RouteMatch` of requests that carry what this site's front appends to `via`.

    No other cloud's name can end or begin like it: "1.1 " comes before it, and a dot after it.
    """
    contains = field_bytes(_STRING_MATCH, field_string(_CONTAINS, f"1.1 {cloud}.scopeway"))
    header = field_string(_NAME, "via") + contains
    return field_string(_PREFIX, "/") + field_bytes(_HEADERS, header)


def _is_own(cloud: str, route: OwnRoute) -> bytes:
    """A `RouteMatch` of targets that this site's own services serve, and nobody else may."""
    suffix = field_bytes(_STRING_MATCH, field_string(_SUFFIX, f"@{cloud}"))
    match = field_string(_PREFIX, "/")
    if route.limit is not None:
        exact = field_bytes(_STRING_MATCH, field_string(_EXACT, route.limit))
        match += field_bytes(_HEADERS, field_string(_NAME, names.LIMIT) + exact)
    match += field_bytes(_HEADERS, field_string(_NAME, names.TARGET) + suffix)
    if route.awaited:
        present = field_string(_NAME, names.ANSWER) + field_varint(_PRESENT_MATCH, 1)
        match += field_bytes(_HEADERS, present)
    return match
