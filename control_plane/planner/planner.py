"""Plans a target: applies the scope language, policies, cordons and reachability to one caller.

Reads only the caller, the clouds that the expression names or selects by labels, their cordons, and
the declaration of the service's type. `serving.target_index` relies on that.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import assert_never

from scopeway.control_plane.clouds.addresses import AllowedAddress
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import lists_json
from scopeway.control_plane.planner.access import denial_reason, identity_mapping
from scopeway.control_plane.planner.fanout import fanout_steps, read_fanout
from scopeway.control_plane.planner.hops import direct_hop, peer_hop
from scopeway.control_plane.planner.link_origins import link_origins
from scopeway.control_plane.planner.plan import (
    Hop,
    Local,
    Plan,
    Rejection,
    Route,
    Skipped,
)
from scopeway.control_plane.scope import IDENTITY_VALIDATE, Target
from scopeway.control_plane.scope.ast import CloudName, Expression, LabelSelector, Operation
from scopeway.control_plane.scope.ast import Local as LocalAtom
from scopeway.xds.steps import Steps, finish

Atom = CloudName | LocalAtom | LabelSelector

MAX_HOPS = 128
"""The most clouds in one route. A limit of the data plane: each cloud of a route has a priority of
its own, and the proxy accepts at most 129 priorities (`translator.clusters`)."""

LABEL_WINDOW = 256
"""How many of the nearest matching clouds a label selector considers to find usable ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSettings:
    """The operator's settings for plans."""

    insecure_peers: bool = False
    """Whether sites may use plain HTTP/2 beyond loopback."""
    direct: tuple[AllowedAddress, ...] | None = None
    """Allowed addresses of services of clouds without a peer; None allows loopback, and with a
    trust domain nothing."""
    trust_domain: str | None = None
    """The trust domain of the sites' certificates; None for plain HTTP/2."""
    label_limit: int = 8
    """The most clouds that one label selector adds to a route."""


def plan_target(
    target: Target, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> Plan:
    """Return the plan of a target at the site of `caller`."""
    return plan_with_skipped(target, caller, inventory, settings)[0]


def plan_with_skipped(
    target: Target, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> tuple[Plan, tuple[Skipped, ...]]:
    """Return the plan of a target, and the clouds of its expression that the plan leaves out.

    The skipped clouds are in the order of the expression. A cloud whose rejection is the plan is
    not among them.
    """
    return finish(plan_steps(target, caller, inventory, settings))


def plan_steps(
    target: Target, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> Steps[tuple[Plan, tuple[Skipped, ...]]]:
    """Do what `plan_with_skipped` does, in steps; only a fan-out has several."""
    unknown = _unknown_service(target.service, inventory)
    if unknown is not None:
        return unknown, ()
    if target.service == IDENTITY_VALIDATE:
        return _plan_validation(target.expression, caller, inventory, settings), ()
    fanout = read_fanout(target.expression, target.service)
    if isinstance(fanout, Rejection):
        return fanout, ()
    if fanout is not None:
        declared = inventory.service_type(target.service)
        return (
            yield from fanout_steps(
                fanout,
                caller,
                inventory,
                lambda name: _hop(name, target.service, caller, inventory, settings, fanout=True),
                lists=lists_json(declared) if declared is not None else "",
            )
        )
    return _plan_route(target, caller, inventory, settings)


def _plan_route(
    target: Target, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> tuple[Plan, tuple[Skipped, ...]]:
    """Plan a target that one cloud serves: the first of the expression's that can."""
    hops: list[Hop] = []
    rejections: dict[str, Rejection] = {}
    seen: set[str] = set()
    nothing: Rejection | None = None
    for atom in atoms(target.expression):
        names, wanted = _candidates(atom, caller, inventory, settings)
        most = min(len(hops) + wanted, MAX_HOPS)
        found = False
        for name in names:
            found = True
            if len(hops) == most:
                break
            if name in seen:
                continue
            seen.add(name)
            hop = _hop(name, target.service, caller, inventory, settings)
            if isinstance(hop, Rejection):
                rejections[name] = hop
            else:
                hops.append(hop)
        if not found and not rejections:
            nothing = nothing or _no_match(atom)
    skipped = tuple(
        Skipped(cloud=name, reason=why.reason, cause=why.cause) for name, why in rejections.items()
    )
    if hops:
        return Route(hops=tuple(hops)), skipped
    if nothing is not None:
        return nothing, skipped
    return next(iter(rejections.values())), skipped[1:]


def atoms(expression: Expression) -> Iterator[Atom]:
    """Yield the cloud names and label selectors of an expression, in order."""
    if isinstance(expression, Operation):
        for operand in expression.operands:
            yield from atoms(operand)
    else:
        yield expression


def _candidates(
    atom: Atom,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
) -> tuple[Iterable[str], int]:
    """Return the clouds that an atom matches, best first, and how many of them to use."""
    match atom:
        case CloudName(name):
            return (name,), 1
        case LocalAtom():
            return (caller.name,), 1
        case LabelSelector(labels):
            names = inventory.nearest(dict(labels), near=caller.labels, first=caller.name)
            return islice(names, LABEL_WINDOW), settings.label_limit
        case _:
            assert_never(atom)


def _no_match(atom: Atom) -> Rejection:
    assert isinstance(atom, LabelSelector), "only labels may stand for no cloud at all"
    wanted = ",".join(f"{label}={value}" for label, value in atom.labels)
    return Rejection(status=404, reason=f"no cloud has the labels [{wanted}]")


def _hop(
    name: str,
    service: str,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
    *,
    fanout: bool = False,
) -> Hop | Rejection:
    cloud = caller if name == caller.name else inventory.get(name)
    if cloud is None:
        return _unknown_cloud(name)
    if service not in cloud.services:
        return _no_service(name, service)
    denied = denial_reason(cloud, caller, service, fanout=fanout)
    if denied is not None:
        return Rejection(status=403, reason=denied, cause="policy")
    return _hop_to(cloud, service, caller, inventory, settings)


def _hop_to(
    cloud: Cloud,
    service: str,
    caller: Cloud,
    inventory: Inventory,
    settings: PlanSettings,
    *,
    path_prefix: str = "",
) -> Hop | Rejection:
    if cloud is caller:  # even if it is cordoned: a cordon is for other clouds
        return Local(
            cloud=cloud.name,
            service=cloud.services[service],
            link_origins=link_origins(cloud, service),
        )
    cordon = inventory.cordon_reason(cloud.name)
    if cordon is not None:
        why = f": {cordon}" if cordon else ""
        return Rejection(status=503, reason=f"{cloud.name} is cordoned{why}", cause="cordoned")
    if cloud.peer is not None:
        prefix = path_prefix or service
        return peer_hop(
            cloud.name,
            cloud.peer,
            prefix,
            insecure_peers=settings.insecure_peers,
            trust_domain=settings.trust_domain,
        )
    return direct_hop(cloud, service, direct=settings.direct, trust_domain=settings.trust_domain)


def _unknown_service(service: str, inventory: Inventory) -> Rejection | None:
    types = inventory.service_types
    if service in types.types or service == IDENTITY_VALIDATE:
        return None
    return Rejection(status=404, reason=types.unknown(service))


def _unknown_cloud(name: str) -> Rejection:
    return Rejection(status=404, reason=f"no cloud is named {name}", cause="unknown")


def _no_service(name: str, service: str) -> Rejection:
    return Rejection(status=404, reason=f"{name} has no {service} service", cause="no-service")


def _plan_validation(
    expression: Expression, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> Plan:
    """Plan the validation of a token by the cloud that issued it, if both clouds agree.

    The caller must accept identities of the issuer. The issuer must let the caller validate tokens.
    """
    assert isinstance(expression, CloudName), "the names of such targets have one cloud"
    name = expression.name
    issuer = caller if name == caller.name else inventory.get(name)
    if issuer is None:
        return _unknown_cloud(name)
    if "identity" not in issuer.services:
        return _no_service(name, "identity")
    mapping = identity_mapping(caller, issuer)
    # Keystone answers 404 for an invalid token; services take a 403 for a broken Keystone
    if mapping is None:
        reason = (
            f"{caller.name} does not honour tokens of {name}: "
            "no identity list of its accept rules names it"
        )
        return Rejection(status=404, reason=reason, cause="policy")
    denied = denial_reason(issuer, caller, IDENTITY_VALIDATE)
    if denied is not None:
        return Rejection(status=404, reason=denied, cause="policy")
    # validations have a path prefix of their own at the peer, which gives no other access to
    # Keystone
    hop = _hop_to(issuer, "identity", caller, inventory, settings, path_prefix=IDENTITY_VALIDATE)
    if isinstance(hop, Rejection):
        return hop
    return Route(hops=(hop,), identity_mapping=mapping)
