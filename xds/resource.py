"""One encoded resource, shared by all streams.

Invariant: `version` depends only on the bytes and the TTL, so it survives a restart and is the same
on all replicas.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Resource:
    """A resource, ready to be put into a response.

    `xds.encoding.messages.resource` makes it. It is immutable, and streams share it.
    """

    name: str
    type_url: str
    version: str
    """A hash of the encoded body, and of the TTL if there is one."""
    framed: bytes
    """The encoded field `resources` of a DeltaDiscoveryResponse, with tag and length.

    It ends with the body.
    """
    body_size: int
    """In bytes."""
    ttl: float | None = None
    """Seconds after which the client drops the resource, unless it is refreshed; None: never."""
    after: str | None = None
    """A type URL. On delta, a wildcard subscriber gets a new resource only after it has requested
    that type. Use it for resources that take long to warm and block the client: Envoy requests
    listeners when all clusters of the first response are warm. None: send the resource at once."""

    @property
    def body(self) -> bytes:
        """The encoded message of type `type_url`: a copy."""
        return self.framed[len(self.framed) - self.body_size :]
