"""Which replica writes status: the rules of a leader election by a Lease. Pure.

The rules are those of client-go's `leaderelection`. A Lease that changes is alive; whether it has
changed is measured by the local monotonic clock, so the clocks of machines are never compared. A
leader stops before others may follow it: `renew_deadline` is shorter than `lease_duration`. After a
pause two leaders may overlap for a moment. That does no harm: each writes only what differs from
what it has seen, and the next observation corrects it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from typing import Any, Final

LEASE_NAME: Final = "scopeway-status"
MAX_FOREIGN_DURATION: Final = 60.0
"""Seconds of another holder's lease that are respected at most."""
MAX_TRANSITIONS: Final = 2**31
"""At this count of changes of the leader, Kubernetes refuses the Lease; so it begins anew."""

Document = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElectionTimes:
    """Seconds, with the defaults of client-go."""

    lease_duration: float = 15.0
    """How long others wait after the last renewal that they have seen."""
    renew_deadline: float = 10.0
    """How long a leader leads after its last renewal."""
    retry_period: float = 2.0
    """Between two attempts to take or renew the lease."""


@dataclass(frozen=True, slots=True)
class Write:
    """A write of the Lease that has to be tried."""

    document: Document
    create: bool
    """Whether there is no Lease yet; else the document has the version that it replaces."""


class Election:
    """What one candidate knows of the Lease."""

    def __init__(self, identity: str, times: ElectionTimes | None = None) -> None:
        """Begin as a candidate.

        Args:
            identity: The name of this process; no other may have it.
            times: The periods.
        """
        self._identity = identity
        self._times = times or ElectionTimes()
        self._lease: Document | None = None
        """As it was seen last; it changes only with the version."""
        self._changed = 0.0
        """When it was first seen as it is."""
        self._renewed: float | None = None
        """When the last successful renewal was begun; None: this one does not lead."""

    @property
    def identity(self) -> str:
        """The name of this candidate."""
        return self._identity

    def is_leader(self, now: float) -> bool:
        """Return whether this one may write."""
        return self._renewed is not None and now - self._renewed < self._times.renew_deadline

    def holder(self) -> str:
        """Return who holds the Lease, as it was seen last; "" if nobody does."""
        return _holder(self._lease)

    def next_write(self, lease: Document | None, now: float, wall: float) -> Write | None:
        """Return what to write after the Lease was read; None: another one holds it.

        Args:
            lease: The Lease; None: there is none.
            now: Seconds of the monotonic clock, at the beginning of the attempt.
            wall: Seconds since 1970, which are written for people.
        """
        self._observe(lease, now)
        if self._is_held_by_another(now):
            self._renewed = None
            return None
        holds = _holder(lease) == self._identity
        spec = dict((lease or {}).get("spec") or {})
        transitions = spec.get("leaseTransitions") or 0
        spec |= {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": ceil(self._times.lease_duration),
            "renewTime": micro_time(wall),
        }
        if not holds:
            spec["acquireTime"] = spec["renewTime"]
            spec["leaseTransitions"] = (transitions + (lease is not None)) % MAX_TRANSITIONS
        return Write(_document(lease, spec), create=lease is None)

    def next_release(self, wall: float) -> Write | None:
        """Return the write that gives the Lease up; None: this one does not hold it."""
        self._renewed = None
        if self._lease is None or self.holder() != self._identity:
            return None
        spec = dict(self._lease["spec"])
        spec |= {
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "renewTime": micro_time(wall),
        }
        return Write(_document(self._lease, spec), create=False)

    def written(self, lease: Document, begun: float) -> None:
        """Note that the Lease was written, as this document, in an attempt that began then."""
        self._observe(lease, begun)
        self._renewed = begun if self.holder() == self._identity else None

    def _observe(self, lease: Document | None, now: float) -> None:
        if _version(lease) != _version(self._lease):
            self._changed = now
        self._lease = lease

    def _is_held_by_another(self, now: float) -> bool:
        holder = self.holder()
        if holder in ("", self._identity):
            return False
        assert self._lease is not None
        stated = self._lease["spec"].get("leaseDurationSeconds") or 0
        return now - self._changed < min(float(stated), MAX_FOREIGN_DURATION)


def micro_time(wall: float) -> str:
    """Return a time in the form of Kubernetes' MicroTime."""
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def time_of(wall: float) -> str:
    """Return a time in the form of Kubernetes' Time, which has whole seconds."""
    return datetime.fromtimestamp(int(wall), UTC).isoformat()[:-6] + "Z"


def _holder(lease: Mapping[str, Any] | None) -> str:
    spec = (lease or {}).get("spec") or {}
    return spec.get("holderIdentity") or ""


def _version(lease: Mapping[str, Any] | None) -> str | None:
    return None if lease is None else lease["metadata"].get("resourceVersion")


def _document(lease: Mapping[str, Any] | None, spec: Document) -> Document:
    if lease is None:
        metadata: Document = {"name": LEASE_NAME}
    else:
        kept = ("name", "namespace", "resourceVersion", "uid", "labels", "annotations")
        metadata = {key: lease["metadata"][key] for key in kept if key in lease["metadata"]}
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": metadata,
        "spec": spec,
    }
