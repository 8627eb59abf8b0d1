"""The status of resources and resource types at one client, as the server knows it.

Values only; `xds.protocol.subscription_state` and `xds.protocol.session` make them.
"""

from dataclasses import dataclass
from enum import IntEnum

ABSENT = ""
"""The version of a resource that does not exist."""


class Status(IntEnum):
    """The numbers of envoy.service.status.v3.ConfigStatus."""

    UNKNOWN = 0
    """The lookup in the source failed."""
    SYNCED = 1
    """The client has acknowledged the current version."""
    NOT_SENT = 2
    """The current version was not sent yet, or the resource does not exist."""
    STALE = 3
    """The current version was sent, and the client has sent no ACK or NACK."""
    ERROR = 4
    """The client has rejected the current version."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that the client has rejected."""

    version: str
    message: str
    is_current: bool = True
    """Whether the source still has this version. If not, the rejection is kept in case the version
    comes back."""


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One resource that a client wants."""

    type_url: str
    name: str
    status: Status
    version: str
    """The version that the status is about; ABSENT for a removal, or if there is none."""
    rejection: Rejection | None
    """The last rejection, until the client accepts a version of this resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """The last NACK for a type on a stream; the fields are those of `xds.events.Nacked`."""

    names: tuple[str, ...]
    code: int
    message: str
    at: float
    """When it was received, in the terms of the session's `now`."""
    is_current: bool = True
    """Whether the client has not acknowledged a response of the type since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """The status of one resource type on a stream."""

    type_url: str
    wildcard: bool
    subscribed: int
    """The number of names that the client wants."""
    acked: int
    """The number of resources that the client has, as far as is known."""
    in_flight: int
    """The number of names in the response that has no ACK or NACK yet."""
    in_flight_since: float | None
    """When that response was made, in the terms of the session's `now`; None if there is none."""
    rejected: dict[str, Rejection]
    """The rejections of current versions, by name."""
    last_nack: Nack | None
    kept: int = 0
    """The number of resources that the client keeps as it reported them, because the source is
    outdated (`xds.source.MayBeOutdated`); 1 for a full state."""
    sent_outdated: int = 0
    """The number of resources that were sent to the client since the source became outdated."""
