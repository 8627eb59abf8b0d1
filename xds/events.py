"""What happens on a stream, as values: for logs, metrics and tests."""

from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from scopeway.xds.source import Node


@dataclass(frozen=True, slots=True)
class StreamDelayed:
    """A new stream waits for its turn: too many came at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """A new stream was sent away: too many came at once. No `StreamClosed` follows."""

    retry_after: float
    """Seconds; what the client was told, and may not heed."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """A stream has named its node."""


CERTIFICATE_EXPIRED: Final = "the client certificate has expired: reconnect with a new one"
"""The reason of a stream that ends with UNAUTHENTICATED when its client's certificate expires."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream has ended."""

    status: str
    """The name of its gRPC status. "OK" or "CANCELLED": the client went away, or the connection
    broke, which gRPC doesn't tell apart."""
    reason: str = field(default="", compare=False)
    """What the client was told."""
    opened: bool = True
    """Whether there was a `StreamOpened`; False where the stream was refused before."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A response was handed to gRPC."""

    type_url: str
    resources: int
    removed: int
    size: int
    """In bytes."""


@dataclass(frozen=True, slots=True)
class Acked:
    """The client took a response."""

    type_url: str
    seconds: float = field(default=0.0, compare=False)
    """From when it was due to be sent to the client's word."""


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client rejected a response.

    With several names, which of them is bad is not known yet: they are sent again in smaller
    responses, so another one follows for each bad resource alone.
    """

    type_url: str
    names: tuple[str, ...]
    """What the response held; empty also when the client rejects one that is not in flight."""
    code: int
    """Of `error_detail`, a number of google.rpc.Code; Envoy says 13, INTERNAL."""
    message: str


@dataclass(frozen=True, slots=True)
class NamesSkipped:
    """A request held names that are too long or not UTF-8, or more than a client may have."""

    type_url: str
    count: int


@dataclass(frozen=True, slots=True)
class TypeNotServed:
    """The client asked for a type that the source does not have; told once for each type."""

    type_url: str


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The source raised an error instead of returning a resource; nothing is sent for it.

    It is asked again later, and this is told again if it fails again.
    """

    type_url: str
    name: str
    error: Exception
    retry_after: float | None = field(default=None, compare=False)
    """Seconds until the lookup is repeated; None if the client does not want the name any more."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The client keeps resources as it reported them, because the source is outdated.

    See `xds.source.MayBeOutdated`.
    """

    type_url: str
    count: int
    """How many, besides those that were told before; 1 for a complete state."""
    first: bool = True
    """Whether it is the first time on this stream."""


@dataclass(frozen=True, slots=True)
class SlowClient:
    """The client did not take a response in time and loses its stream."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """The client's budget of CPU time is used up: its work waits, and nobody else's."""

    seconds: float
    """How long, at least."""


SessionEvent: TypeAlias = Acked | Nacked | NamesSkipped | TypeNotServed | LookupFailed | Kept
"""What a session tells (`xds.protocol.session.Session.events`)."""
AdmissionEvent: TypeAlias = StreamDelayed | StreamRefused
"""What happens to a stream before anything of it is read."""
Event: TypeAlias = (
    SessionEvent | AdmissionEvent | StreamOpened | StreamClosed | Sent | SlowClient | Throttled
)
"""What an observer is told."""


class Observer(Protocol):
    """Is told all that happens; called on the event loop, so it must be quick and not raise.

    Of one stream: `StreamOpened`, what happens on it, `StreamClosed`; one that ends before it has
    named a node that is served has the last only. All of it is in the log of
    `xds.grpc_server.server` too.
    """

    def observe(self, node: Node | None, event: Event) -> None:
        """Take note of an event; `node` is None for a stream that never named it."""
