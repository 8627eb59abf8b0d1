"""How far one client is with one resource, as the server knows it.

Shared by the two sets of rules (`xds.subscription`, `xds.sotw`), which know what was sent and
answered. Pure, and it changes nothing: asking costs one lookup in the view for each name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from xds.source import NodeView

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
class Progress:
    """What a client was sent of one type, and how it answered; by name."""

    type_url: str
    view: NodeView | None
    in_flight: Mapping[str, str]
    held: Mapping[str, str]
    rejected: Mapping[str, Rejection]
    doubted: Mapping[str, Rejection]
    """Rejected together with others."""

    def state(self, name: str, *, owed: bool) -> ResourceState:
        """Return the state of a name; `owed`: it is to be sent, even if it is what is held."""
        rejection = self.rejected.get(name) or self.doubted.get(name)
        status, version = self._status(name, rejection, owed)
        if status is Status.SYNCED:
            rejection = None
        return ResourceState(self.type_url, name, status, version, rejection)

    def _status(self, name: str, rejection: Rejection | None, owed: bool) -> tuple[Status, str]:
        if name in self.in_flight:
            return Status.STALE, self.in_flight[name]
        try:
            resource = self.view.resource(self.type_url, name) if self.view else None
        except Exception:  # the stream itself has met it, and told its observer
            return Status.UNKNOWN, self.held.get(name, ABSENT)
        version = resource.version if resource else ABSENT
        if rejection is not None and rejection.version == version:
            return Status.ERROR, version
        if owed or version == ABSENT or version != self.held.get(name):
            return Status.NOT_SENT, version
        return Status.SYNCED, version
