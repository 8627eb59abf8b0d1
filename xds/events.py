"""The events of streams, as values: for logs, metrics and tests."""

from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

from scopeway.xds.source import Node


@dataclass(frozen=True, slots=True)
class StreamDelayed:
    """A new stream is delayed, as too many were opened at once."""

    seconds: float


@dataclass(frozen=True, slots=True)
class StreamRefused:
    """A new stream was refused, as too many were opened at once. No `StreamClosed` follows."""

    retry_after: float
    """Seconds after which the client should retry, as sent to it. It may ignore that."""


@dataclass(frozen=True, slots=True)
class StreamOpened:
    """The node of a stream is known, and is served."""


CERTIFICATE_EXPIRED: Final = "the client certificate has expired: reconnect with a new one"
"""The reason of a stream that ends with UNAUTHENTICATED when its client's certificate expires."""


@dataclass(frozen=True, slots=True)
class StreamClosed:
    """A stream has ended."""

    status: str
    """The name of its gRPC status. "OK" or "CANCELLED": the client ended the stream, or the
    connection was lost; gRPC does not distinguish them."""
    reason: str = field(default="", compare=False)
    """The status message to the client."""
    opened: bool = True
    """Whether there was a `StreamOpened`; False if the stream ended before."""


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
    """The client accepted a response."""

    type_url: str
    seconds: float = field(default=0.0, compare=False)
    """The time from making the response to its ACK."""


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client rejected a response.

    If it held several resources, it is not known which of them is bad. They are sent again in
    smaller responses, so another event follows for each bad resource alone.
    """

    type_url: str
    names: tuple[str, ...]
    """The names in the response. Also empty if that response is not in flight."""
    code: int
    """The code of `error_detail` (google.rpc.Code). Envoy sends 13, INTERNAL."""
    message: str
    """The message of `error_detail`: untrusted text of the client."""


@dataclass(frozen=True, slots=True)
class NamesSkipped:
    """Names of a request were skipped: too long, not UTF-8, or over the limit of names."""

    type_url: str
    count: int


@dataclass(frozen=True, slots=True)
class TypeNotServed:
    """The client requested a type that the source does not serve. Once for each type."""

    type_url: str


@dataclass(frozen=True, slots=True)
class LookupFailed:
    """The source raised an error instead of returning a resource. Nothing is sent for it.

    The lookup is repeated later. If it fails again, there is another event.
    """

    type_url: str
    name: str
    error: Exception
    retry_after: float | None = field(default=None, compare=False)
    """Seconds until the lookup is repeated; None if the client does not want the name any more."""


@dataclass(frozen=True, slots=True)
class SourceBlocked:
    """The source took longer than 100 ms for a call: nothing else ran on the event loop meanwhile.

    A source that has to wait for something answers later (`xds.source.NodeView.resource`).
    """

    call: str
    """"attach", "resource" or "wildcard"."""
    type_url: str
    """"" for "attach"."""
    name: str
    """The resource's name, "*" for "wildcard", and for "attach" ""."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Kept:
    """The client keeps resources as it reported them, because the source is outdated.

    See `xds.source.MayBeOutdated`.
    """

    type_url: str
    count: int
    """How many more resources than in earlier events; 1 for a full state."""
    first: bool = True
    """Whether it is the first such event on this stream."""


@dataclass(frozen=True, slots=True)
class SlowClient:
    """The client did not read a response in time. Its stream ends."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Throttled:
    """The client has used up its CPU budget. Its requests and responses wait, and no others."""

    seconds: float
    """The shortest time that they wait."""


SessionEvent: TypeAlias = (
    Acked | Nacked | NamesSkipped | TypeNotServed | LookupFailed | SourceBlocked | Kept
)
"""The events of a session (`xds.protocol.session.Session.events`)."""
AdmissionEvent: TypeAlias = StreamDelayed | StreamRefused
"""The events of a stream before its first request is read."""
Event: TypeAlias = (
    SessionEvent | AdmissionEvent | StreamOpened | StreamClosed | Sent | SlowClient | Throttled
)
"""The events that an observer gets."""


class Observer(Protocol):
    """Gets all events. It is called on the event loop, so it must be quick and must not raise.

    The events of a stream are `StreamOpened`, those on it, and `StreamClosed`. A stream that ends
    before its node is served has `StreamClosed` only. The logger "scopeway.xds" logs all events.
    """

    def observe(self, node: Node | None, event: Event) -> None:
        """Handle an event. `node` is None if the node of the stream is not known."""
