"""How far one client is with a resource, and with a type, as the server knows it.

The values alone: `xds.protocol.subscription_state` and `xds.protocol.session` tell them.
"""

from dataclasses import dataclass
from enum import IntEnum

ABSENT = ""
"""The version where there is no resource."""


class Status(IntEnum):
    """The numbers of envoy.service.status.v3.ConfigStatus."""

    UNKNOWN = 0
    """The source failed to look it up."""
    SYNCED = 1
    """The client has acknowledged what there is now."""
    NOT_SENT = 2
    """What there is now was not sent yet, or there is none by this name."""
    STALE = 3
    """It was sent, and the client hasn't answered."""
    ERROR = 4
    """The client has rejected it."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A version that the client has rejected."""

    version: str
    message: str
    is_current: bool = True
    """Whether there is this version still; else it waits in case it comes again."""


@dataclass(frozen=True, slots=True)
class ResourceState:
    """One resource that a client wants."""

    type_url: str
    name: str
    status: Status
    version: str
    """What the status is about, ABSENT where that is a removal, or nothing."""
    rejection: Rejection | None
    """The last one, until the client takes a version of this resource."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Nack:
    """The last rejection of a type on a stream, as `xds.events.Nacked`."""

    names: tuple[str, ...]
    code: int
    message: str
    at: float
    """The `now` of the request that brought it."""
    is_current: bool = True
    """Whether the client has taken no response of the type since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStatus:
    """How far one type of a stream has come."""

    type_url: str
    wildcard: bool
    subscribed: int
    """The number of names that the client wants."""
    acked: int
    """The number of resources that it has, as far as is known."""
    in_flight: int
    """The number of names in the response that is not acknowledged yet."""
    in_flight_since: float | None
    """The `now` at which it was due to be sent; None: there is none."""
    rejected: dict[str, Rejection]
    """The versions that the client does not take, by name, as long as there are no others."""
    last_nack: Nack | None
    kept: int = 0
    """The number of resources that the client keeps as it reported them, because the source is
    outdated (`xds.source.MayBeOutdated`); 1 for a complete state."""
    sent_outdated: int = 0
    """The number of resources that the client was sent since the source is outdated."""
