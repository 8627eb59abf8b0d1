"""How a plan reads while the registry is unavailable.

Pure. A cloud that is unknown here may be registered meanwhile. So the user learns that the cloud is
not known, and since when the registry has not been read.
"""

from dataclasses import replace
from datetime import UTC, datetime

from scopeway.control_plane.planner.plan import Plan, Rejection


def mark_stale(plan: Plan, until: float) -> Plan:
    """Return a plan with the hint that the registry has not been read since `until`.

    A route stays unchanged. A missing cloud or service (404) becomes a 503, so that clients may try
    again. Other rejections keep their status.

    Args:
        plan: The plan by the last known inventory.
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
    """Return the rejection for a site of an unknown cloud; `until` None: the registry is read."""
    reason = f"the cloud of this site, {caller}, is unknown"
    if until is not None:
        reason = f"{reason} to the control plane: {registry_away_since(until)}"
    return Rejection(status=503, reason=reason)


def registry_away_since(until: float) -> str:
    """Return since when the registry has not been read, to the minute.

    Rounded, so that replicas and restarts produce the same text, and so equal versions.
    """
    at = datetime.fromtimestamp(until, UTC)
    return f"it has not been able to read its registry since {at:%Y-%m-%d %H:%M} UTC"
