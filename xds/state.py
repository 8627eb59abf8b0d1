"""How far one client is with one resource, as the server knows it.

The values alone: `xds.ledger` tells them.
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
    stands: bool = True
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
