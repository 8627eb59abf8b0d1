"""The periods of status, in one place: tests run with shorter ones."""

from dataclasses import dataclass, field

from scopeway.control_plane.status_writer.leader import ElectionTimes


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusTimes:
    """Seconds."""

    election: ElectionTimes = field(default_factory=ElectionTimes)
    renew: float = 15.0
    """Between two renewals of a replica's own Lease."""
    dead_after: float = 45.0
    """Without a renewal, by the leader's own clock, after which a replica counts as dead."""
    keep: float = 10.0
    """For which a replica publishes a cloud without a stream: an Envoy that reconnects is no
    change."""
    rest: float = 2.0
    """Between two writes of a replica's clouds."""
    look: float = 1.0
    """Between two looks of a replica at its streams, and of the leader at all replicas."""
    retry: float = 5.0
    """Until a replica, or the leader, tries again after a failure."""
