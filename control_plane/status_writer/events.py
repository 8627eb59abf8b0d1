"""The Events for refusals: one for each refused generation of an object. Pure.

An Event's name follows from what it tells, so one that is created twice is refused by the API
server, whoever creates it.
"""

from hashlib import blake2b
from typing import Any, Final

from scopeway.control_plane.status_writer.leader import micro_time
from scopeway.xds.text import shown

NAMESPACE: Final = "default"
"""Where Kubernetes wants Events about objects that are in no namespace."""
CONTROLLER: Final = "scopeway.io/control-plane"
MAX_NOTE: Final = 1024
"""Bytes of the text of an Event, by Kubernetes."""
MAX_INSTANCE: Final = 128
"""Characters of the name of the reporting replica, by Kubernetes."""
_ROOM: Final = 32


def refusal(
    *,
    kind: str,
    name: str,
    uid: str,
    generation: int,
    reason: str,
    message: str,
    replica: str,
    wall: float,
) -> dict[str, Any]:
    """Return the Event that tells that a generation of an object is refused.

    Args:
        kind: The object's.
        name: The object's.
        uid: The object's.
        generation: The generation that is refused.
        reason: Why, in one word.
        message: Why, for people.
        replica: Which replica tells it.
        wall: Seconds since 1970.
    """
    told = blake2b(f"{uid}/{generation}/{reason}".encode(), digest_size=8).hexdigest()
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{told}", "namespace": NAMESPACE},
        "eventTime": micro_time(wall),
        "type": "Warning",
        "reason": reason,
        "action": "Accept",
        "note": _note(message),
        "regarding": {
            "apiVersion": "scopeway.io/v1alpha1",
            "kind": kind,
            "name": name,
            "uid": uid,
        },
        "reportingController": CONTROLLER,
        "reportingInstance": replica[:MAX_INSTANCE],
    }


class TokenBucket:
    """At most so many at once, and so many a second in the long run; its caller has the clock."""

    def __init__(self, *, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._at: float | None = None

    def take(self, now: float) -> bool:
        """Take one if there is one; return whether there was."""
        self._fill(now)
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def reserve(self, now: float) -> float:
        """Take one that there may be later; return the seconds until then."""
        self._fill(now)
        self._left -= 1
        return max(0.0, -self._left / self._per_second)

    def _fill(self, now: float) -> None:
        if self._at is not None:
            self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now


def _note(message: str) -> str:
    text = shown(message, MAX_NOTE - _ROOM)
    cut = text.encode()[:MAX_NOTE]
    return cut.decode(errors="ignore")
