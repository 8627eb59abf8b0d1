"""What one client, or a crowd of them, may cost a server."""

from dataclasses import dataclass

from scopeway.xds.encoding.messages import MAX_NAME_BYTES
from scopeway.xds.protocol.session import NAMES_LIMIT, RESPONSE_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, or a crowd of them, may cost."""

    send_timeout: float = 30.0
    """Seconds that a client may take to accept a response before it loses its stream."""
    request_bytes: int = 8 << 20
    """The largest request; a returning client lists every version that it has."""
    response_bytes: int = RESPONSE_LIMIT
    """A response ends with the resource that takes it to so many bytes."""
    unsent_bytes: int = 32 << 20
    """Bytes of responses that are on their way to one client, whatever its streams; further ones
    wait until it has taken those. gRPC holds each twice."""
    name_bytes: int = MAX_NAME_BYTES
    """The longest resource name; longer ones are skipped."""
    first_request_timeout: float = 30.0
    """Seconds that a stream may be silent before it has named its node."""
    names: int = NAMES_LIMIT
    """Names of one type that a stream may be subscribed to; further ones are skipped."""
    names_per_second: float = 200.0
    """New names that a stream may go on to subscribe to; further requests are left unread until
    their time comes, and its client waits. Each KiB of a request counts as a name. In state of the
    world only these count, since a request repeats all names."""
    names_burst: int = 20_000
    """Names at once: a returning client lists all that it has."""
    connects_per_second: float = 300.0
    """New streams that the server goes on to serve; faster ones wait for their turn, unread. Until
    then they cost memory only, and their clients go on with what they have."""
    connects_burst: int = 200
    """New streams at once."""
    connect_wait: float = 5.0
    """Seconds that a new stream may have to wait for its turn; who would wait longer is refused at
    once. Below Envoy's `initial_fetch_timeout` (15 s), after which it starts without an answer."""
    client_connects_per_second: float | None = None
    """New streams of one client, as `xds.grpc_server.server.serve` tells them apart by what TLS has
    proven, that the server goes on to serve; faster ones wait and are refused as above. None: only
    all clients together have a limit."""
    client_connects_burst: int = 64
    """New streams of one client at once."""
    cpu_share: float | None = None
    """The share of one core that the work for one client may take in the long run; when its budget
    is used up, its requests are left unread and its responses wait. None: no limit."""
    cpu_burst: float = 10.0
    """Seconds of CPU that the work for one client may take at once."""
    connections: int = 10_000
    """Connections at a time; further ones are closed at once. Each costs a file descriptor, and
    20 kB also before its client has said a word: without one left, the whole process stands."""
    handshake_timeout: float = 10.0
    """Seconds that a client may take for TLS and the first frames of HTTP/2."""
    streams_per_connection: int = 32
    """Streams on one connection at a time; further ones wait."""
    status_bytes: int = 4 << 20
    """The largest answer of CSDS; gRPC's clients take no larger ones unless they are told to."""
    drain_timeout: float = 5.0
    """Seconds that the streams have to end when the server stops."""
