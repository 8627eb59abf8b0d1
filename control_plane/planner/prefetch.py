"""Which targets a site gets before it asks for them: those of its own cloud, and `--prefetch`.

`serving.prefetch_set` selects the clouds; this module selects their targets for one caller.
"""

from functools import lru_cache

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.plan import Rejection
from scopeway.control_plane.planner.planner import PlanSettings, atoms, plan_target
from scopeway.control_plane.scope import (
    IDENTITY_VALIDATE,
    CloudName,
    Expression,
    Local,
    ScopeError,
    Target,
    operator_other_than_or,
    parse_expression,
    target_name,
)


def parse_prefetch(text: str) -> Expression:
    """Return the expression that selects clouds to prefetch.

    Raises:
        ScopeError: it is not an expression, or it does not select the same clouds at all sites.
    """
    expression = parse_expression(text)
    operator = operator_other_than_or(expression)
    if operator is not None:
        raise ScopeError(f"the operator '{operator}' selects no clouds to prefetch; '|' does")
    if any(isinstance(atom, Local) for atom in atoms(expression)):
        raise ScopeError("'local' is another cloud at each site, and its targets need no prefetch")
    return expression


def own_targets(cloud: Cloud | None) -> frozenset[str]:
    """Return the names of the targets of a cloud's own services, which its site always has."""
    if cloud is None:
        return frozenset()
    return frozenset(target_name(service, cloud.name) for service in cloud.services)


def prefetch_targets(
    name: str, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> frozenset[str]:
    """Return the names of the targets of a cloud that the site of `caller` prefetches.

    They are the services that the caller may use, and the validation of tokens if the caller
    accepts identities of the cloud. Cordoned clouds are included. The result is empty for the
    caller's own cloud, whose targets the site always has.
    """
    cloud = inventory.get(name)
    if cloud is None or name == caller.name:
        return frozenset()
    services = (
        [*cloud.services, IDENTITY_VALIDATE] if "identity" in cloud.services else cloud.services
    )
    return _names(
        name,
        tuple(each for each in services if _is_served(each, name, caller, inventory, settings)),
    )


def _is_served(
    service: str, name: str, caller: Cloud, inventory: Inventory, settings: PlanSettings
) -> bool:
    target = Target(service=service, expression=CloudName(name))
    plan = plan_target(target, caller, inventory, settings)
    return not isinstance(plan, Rejection) or plan.cause == "cordoned"


@lru_cache(maxsize=4096)
def _names(cloud: str, services: tuple[str, ...]) -> frozenset[str]:
    # one shared value: most sites may use the same services
    return frozenset(target_name(service, cloud) for service in services)
