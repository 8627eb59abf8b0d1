"""What to tell of a plan that was made while the registry is away.

Pure. A cloud that is not known here may be registered all the same, so "there is none" would be
untrue: the user is told that it is not known, and since when the registry has not been read.
"""

from dataclasses import replace
from datetime import UTC, datetime

from scopeway.control_plane.planner.plan import Plan, Rejection


def mark_stale(plan: Plan, until: float) -> Plan:
    """Return a plan as it can be told by a control plane that knows the registry until some time.

    A route is unchanged. Where something is missing (404) the status becomes 503: services and
    clients may try again. Other rejections keep their status: what was refused stays refused.

    Args:
        plan: Made of what is known.
        until: Seconds since 1970.
    """
    if not isinstance(plan, Rejection) or plan.status in (400, 501):  # the target itself is wrong
        return plan
    if plan.status == 404 and plan.cause != "policy":
        since = registry_away_since(until)
        reason = f"{plan.reason}, or the control plane does not know it yet: {since}"
        return replace(plan, status=503, reason=reason)
    return replace(plan, reason=f"{plan.reason} ({registry_away_since(until)})")


def unknown_caller(caller: str, until: float | None) -> Rejection:
    """Return what a site is told whose cloud is not known; `until` None: the registry is read."""
    reason = f"the cloud of this site, {caller}, is unknown"
    if until is not None:
        reason = f"{reason} to the control plane: {registry_away_since(until)}"
    return Rejection(status=503, reason=reason)


def registry_away_since(until: float) -> str:
    """Return since when the registry has not been read, to the minute.

    Replicas and restarts that know it until the same minute say the same, so versions are equal.
    """
    at = datetime.fromtimestamp(until, UTC)
    return f"it has not been able to read its registry since {at:%Y-%m-%d %H:%M} UTC"
