"""One encoded resource, shared by every stream that sees it.

Owns the value and its version. Invariant: `version` depends on the bytes and the TTL alone, so it
survives a restart and agrees between replicas.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Resource:
    """A resource as it goes into a response.

    Built once by `xds.encoding.messages.resource`; immutable; streams share it.
    """

    name: str
    type_url: str
    version: str
    """A hash of the encoded body, and of the TTL where there is one."""
    framed: bytes
    """The field `resources` of a DeltaDiscoveryResponse, tag and length included: ready to join.

    It ends with the body.
    """
    body_size: int
    """In bytes."""
    ttl: float | None = None
    """After so many seconds without a word from the server the client drops it; None: never."""
    after: str | None = None
    """A type URL: on delta, a wildcard subscriber gets a new resource only once it has asked for
    that type, too. For what takes long to warm up while the client does nothing else: an Envoy asks
    for listeners when all clusters that it was sent first are warm. None: at once."""

    @property
    def body(self) -> bytes:
        """The encoded message of `type_url`: a copy, as it is kept only once."""
        return self.framed[len(self.framed) - self.body_size :]
