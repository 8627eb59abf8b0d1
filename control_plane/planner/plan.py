"""What a target comes to for one caller: a route over one cloud or more, or a rejection.

Owns the values only. They are compared and hashed as keys of a cache, so they hold
exactly what the cluster is made of, and nothing about how it was found.
"""

from dataclasses import dataclass, field
from typing import Literal

from scopeway.control_plane.clouds.model import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """The caller's own service, reached at its endpoints."""

    cloud: str
    service: Service
    link_origins: tuple[str, ...] = ()
    """Where it may say in links that it is (`links`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A service of a cloud without an Envoy of ours, reached at its endpoints."""

    cloud: str
    service: Service
    link_origins: tuple[str, ...] = ()
    """Where it may say in links that it is (`links`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHop:
    """The Envoy of another cloud."""

    cloud: str
    address: str
    port: int
    prefix: str
    """"/image": what the peer knows the service by, and takes off again."""
    identity: str = ""
    """The name that its certificate has to bear; "" for plain HTTP/2."""


Hop = Local | Direct | PeerHop


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityMapping:
    """What the caller's cloud makes of the tokens of another cloud's identity service."""

    roles: tuple[str, ...]
    """The roles that count, sorted; all others are cut away."""
    namespace: str
    """What moves ids into a namespace of that cloud; "" where they are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The clouds that serve a target, the first choice first."""

    hops: tuple[Hop, ...]
    """At least one, each cloud once."""
    identity_mapping: IdentityMapping | None = None
    """Of a validation of tokens, and of nothing else."""


Cause = Literal["unknown", "no-service", "policy", "cordoned", "unreachable", "request"]
"""What is in the way, for metrics: something about the cloud, or "request": the target itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a target cannot be served."""

    status: int
    """The HTTP status that the user gets."""
    reason: str
    """One sentence for the user: lower case, no full stop."""
    cause: Cause = field(default="request", compare=False)
    """The same in one word, for programs."""


Plan = Route | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """One cloud of an expression that is left out of the route."""

    cloud: str
    reason: str
    cause: Cause
