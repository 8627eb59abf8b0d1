"""The conditions of an object: what its status should say, and whether that has to be written.

Pure. Invariant: a message follows from the object and the registry alone. It holds no counter and
no time, so two replicas write the same, and nothing is written while nothing changes.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from scopeway.control_plane.collections.listing import listed
from scopeway.xds.text import shown

ACCEPTED: Final = "Accepted"
RESOLVED_REFS: Final = "ResolvedRefs"
ENVOY_CONNECTED: Final = "EnvoyConnected"
TYPES: Final = frozenset({ACCEPTED, RESOLVED_REFS, ENVOY_CONNECTED})
"""The conditions that are ours; those of others stay as they are."""

INVALID: Final = "Invalid"
CONFLICTED: Final = "Conflicted"
POLICY_TOO_LARGE: Final = "PolicyTooLarge"

MAX_MESSAGE: Final = 1024
"""Characters of a message."""
SHOWN_TYPES: Final = 10
"""Undeclared service types that a message names."""
_MAX_CONDITIONS: Final = 16
"""Conditions of an object that are looked at."""
_ROOM: Final = 32
"""Characters that `shown` may add to a text that it cuts."""
_FIELDS: Final = (
    "type",
    "status",
    "observedGeneration",
    "lastTransitionTime",
    "reason",
    "message",
)

_POLICY_MESSAGE: Final = (
    "the accept rules are too large to be enforced, so the peer of this cloud lets nobody in: use "
    "fewer rules, or select clouds by labels"
)

Condition = Mapping[str, Any]
"""A condition, as `metav1.Condition` has it."""


class Connection(Enum):
    """What is known of the Envoys of a cloud."""

    CONNECTED = "connected"
    """An Envoy of it has a stream to some replica."""
    LEFT = "left"
    """It had one a moment ago, or may have had: what is written stays."""
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """It isn't known yet what the replicas have: what is written stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the control plane thinks of one generation of an object."""

    problem: str | None = None
    """Why it is refused; None if it is not."""
    conflict: bool = False
    """Whether the problem is another object, not this one alone."""
    undeclared: Collection[str] = ()
    """The service types that it names and that are not declared."""
    has_listeners: bool = True
    """Whether it has a front or a peer, so that an Envoy is expected."""
    policy_too_large: bool | None = False
    """Whether its policy is too large to be enforced; None: no Envoy of it has asked yet."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    type: str
    status: bool
    reason: str
    message: str = ""


def conditions_of_cloud(
    verdict: Verdict, connection: Connection, *, current: Sequence[Condition], generation: int
) -> list[_Wanted]:
    """Return the conditions that an EdgeCloud should have.

    A refused generation says nothing of references: that condition stays as it is.
    """
    wanted = [_accepted(verdict, current, generation)]
    if verdict.problem is None:
        wanted.append(_resolved(verdict.undeclared))
    status = _connected(connection, current)
    if status is not None:
        wanted.append(_envoy_connected(status, verdict.has_listeners))
    return wanted


def conditions_of_other(verdict: Verdict) -> list[_Wanted]:
    """Return the conditions that a Cordon or a ServiceType should have."""
    return [_accepted(verdict, (), 0)]


def to_write(
    current: Sequence[Condition], wanted: Sequence[_Wanted], *, generation: int, now: str
) -> list[dict[str, Any]] | None:
    """Return all conditions of ours for a server-side apply; None if nothing differs.

    Args:
        current: The conditions that the object has, of others, too.
        wanted: Those that it should have.
        generation: The `metadata.generation` that the wanted ones are about.
        now: The time, in the form of RFC 3339. A condition has it only if its status changes.
    """
    before = {each.get("type"): each for each in current[:_MAX_CONDITIONS]}
    found = [
        # an apply without them would remove them
        {field: each[field] for field in _FIELDS if field in each}
        for name, each in before.items()
        if name in TYPES and name not in {one.type for one in wanted}
    ]
    differs = False
    for one in wanted:
        old = before.get(one.type, {})
        condition = {
            "type": one.type,
            "status": "True" if one.status else "False",
            "observedGeneration": generation,
            "reason": one.reason,
            "message": one.message,
        }
        differs = differs or any(old.get(field) != value for field, value in condition.items())
        same = old.get("status") == condition["status"] and old.get("lastTransitionTime")
        found.append({**condition, "lastTransitionTime": same or now})
    return found if differs else None


def is_told(current: Sequence[Condition], wanted: _Wanted, generation: int) -> bool:
    """Return whether a condition says the same of the same generation already."""
    old = _find(current, wanted.type)
    return (
        old is not None
        and old.get("observedGeneration") == generation
        and old.get("status") == ("True" if wanted.status else "False")
        and old.get("reason") == wanted.reason
    )


def is_true(current: Sequence[Condition], condition: str) -> bool:
    """Return whether an object has a condition that is true."""
    found = _find(current, condition)
    return found is not None and found.get("status") == "True"


def _find(current: Sequence[Condition], name: str) -> Condition | None:
    found = [each for each in current[:_MAX_CONDITIONS] if each.get("type") == name]
    return found[0] if found else None


def _accepted(verdict: Verdict, current: Sequence[Condition], generation: int) -> _Wanted:
    if verdict.problem is not None:
        reason = CONFLICTED if verdict.conflict else INVALID
        return _Wanted(ACCEPTED, False, reason, _bounded(verdict.problem))
    too_large = verdict.policy_too_large
    if too_large is None:  # it is the peers' routes that say so, and no Envoy asks for them now
        old = _find(current, ACCEPTED) or {}
        too_large = (
            old.get("reason") == POLICY_TOO_LARGE and old.get("observedGeneration") == generation
        )
    if too_large:
        return _Wanted(ACCEPTED, False, POLICY_TOO_LARGE, _POLICY_MESSAGE)
    return _Wanted(ACCEPTED, True, "Accepted")


def _resolved(undeclared: Collection[str]) -> _Wanted:
    if not undeclared:
        return _Wanted(RESOLVED_REFS, True, "ResolvedRefs")
    words = sorted(undeclared)
    names = listed(words[:SHOWN_TYPES], SHOWN_TYPES, total=len(words))
    message = f"not served until a ServiceType declares them: {names}"
    return _Wanted(RESOLVED_REFS, False, "UndeclaredServiceTypes", _bounded(message))


def _connected(connection: Connection, current: Sequence[Condition]) -> bool | None:
    """Return what EnvoyConnected should be; None: nothing, as nothing is known."""
    if connection in (Connection.CONNECTED, Connection.ABSENT):
        return connection is Connection.CONNECTED
    if _find(current, ENVOY_CONNECTED) is None:
        return None if connection is Connection.UNKNOWN else False
    return is_true(current, ENVOY_CONNECTED)


def _envoy_connected(status: bool, has_listeners: bool) -> _Wanted:
    if status:
        return _Wanted(ENVOY_CONNECTED, True, "Connected")
    if not has_listeners:
        message = "the manifest has neither a front nor a peer, so no Envoy is expected"
        return _Wanted(ENVOY_CONNECTED, False, "NoListeners", message)
    message = "no Envoy of this cloud has a stream to the control plane"
    return _Wanted(ENVOY_CONNECTED, False, "NotConnected", message)


def _bounded(text: str) -> str:
    return shown(text, MAX_MESSAGE - _ROOM)
