"""The limits of a server: what one client, and all clients together, may cost it."""

from dataclasses import dataclass, fields
from typing import Final

from scopeway.xds.arguments import described
from scopeway.xds.encoding.messages import MAX_NAME_BYTES
from scopeway.xds.protocol.session import NAMES_LIMIT, RESPONSE_LIMIT

_OPTIONAL: Final = {"client_connects_per_second", "cpu_share"}
_MAY_BE_ZERO: Final = {"connect_wait", "drain_timeout"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all clients together, may cost.

    Raises:
        TypeError: a limit is no number.
        ValueError: a limit is not positive; nothing would be served.
    """

    send_timeout: float = 30.0
    """Seconds that a client may take to read a response. Then its stream ends."""
    request_bytes: int = 8 << 20
    """The largest request. A returning client lists the versions of all its resources."""
    response_bytes: int = RESPONSE_LIMIT
    """A response ends with the resource that reaches this size."""
    unsent_bytes: int = 32 << 20
    """Bytes of responses on their way to one client, on all its streams. Further responses wait
    until the client has read those. gRPC holds each response twice."""
    name_bytes: int = MAX_NAME_BYTES
    """The longest resource name. Longer names are skipped."""
    first_request_timeout: float = 30.0
    """Seconds that a client may take to send the first request of a stream."""
    names: int = NAMES_LIMIT
    """Names of one type that a stream may be subscribed to. Further names are skipped."""
    names_per_second: float = 200.0
    """The rate of new names that a stream may subscribe to. Above it, the server delays reading
    the next request. Each KiB of a request counts as a name. In state of the world only these
    count, as a request repeats all names."""
    names_burst: int = 20_000
    """New names at once: a returning client subscribes to all its names."""
    connects_per_second: float = 300.0
    """The rate of new streams. Above it, streams are delayed: they are not read yet and cost only
    memory, and their clients keep their resources."""
    connects_burst: int = 200
    """New streams at once."""
    connect_wait: float = 5.0
    """The longest delay of a new stream, in seconds. A stream that would wait longer is refused at
    once. Keep it below Envoy's `initial_fetch_timeout` (15 s), after which Envoy starts without a
    response."""
    client_connects_per_second: float | None = None
    """The rate of new streams of one client, which is identified by its TLS certificate. Above it,
    streams are delayed or refused as above. None: only the limit of all clients applies."""
    client_connects_burst: int = 64
    """New streams of one client at once."""
    lookups: int = 100
    """Lookups of one stream that the source answers later (`NodeView.resource`) and that are under
    way at a time; further ones wait."""
    cpu_share: float | None = None
    """The share of one CPU core that the work for one client may use in the long run. When the
    budget is used up, the server delays reading its requests and sending its responses. None: no
    limit."""
    cpu_burst: float = 10.0
    """Seconds of CPU time that the work for one client may use at once."""
    connections: int = 10_000
    """Open connections. Further ones are closed at once. Each costs a file descriptor and, even
    before the first request, 20 kB. A process without file descriptors cannot work."""
    handshake_timeout: float = 10.0
    """Seconds that a client may take for the handshakes of TLS and HTTP/2."""
    streams_per_connection: int = 32
    """Open streams on one connection. Further ones wait."""
    status_bytes: int = 4 << 20
    """The largest response of CSDS. By default, gRPC clients accept no larger one."""
    drain_timeout: float = 5.0
    """Seconds that streams may take to end when the server stops."""

    def __post_init__(self) -> None:
        """Check all limits."""
        for each in fields(self):
            _check(each.name, getattr(self, each.name))


def _check(name: str, value: object) -> None:
    if value is None and name in _OPTIONAL:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Limits.{name} must be a number, not {described(value)}")
    is_good = value >= 0 if name in _MAY_BE_ZERO else value > 0  # False for NaN
    if not is_good:
        least = "at least 0" if name in _MAY_BE_ZERO else "more than 0"
        raise ValueError(f"Limits.{name} is {value!r}: it must be {least}")
