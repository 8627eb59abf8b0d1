"""The plan of a target for one caller: a route, a fan-out or a rejection.

Values only. They are keys of a cache of resources, so they contain exactly what a resource depends
on, and not how the plan was found.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from scopeway.control_plane.clouds.model import Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """The caller's own service, reached at its endpoints."""

    cloud: str
    service: Service
    link_origins: tuple[str, ...] = ()
    """The origins of its links (`planner.link_origins`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct:
    """A service of a cloud without a peer, reached at its endpoints."""

    cloud: str
    service: Service
    link_origins: tuple[str, ...] = ()
    """The origins of its links (`planner.link_origins`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerHop:
    """The peer of another cloud."""

    cloud: str
    address: str
    port: int
    prefix: str
    """"/image": what the peer knows the service by, and takes off again."""
    identity: str = ""
    """The SPIFFE id that its certificate must have; "" for plain HTTP/2."""


Hop = Local | Direct | PeerHop


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityMapping:
    """What the caller's cloud accepts of the tokens of another cloud's identity service."""

    roles: tuple[str, ...]
    """The roles that count, sorted; all others are removed."""
    namespace: str
    """The prefix of mapped ids; "" if ids are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The clouds that serve a target, the first choice first."""

    hops: tuple[Hop, ...]
    """At least one, each cloud once."""
    identity_mapping: IdentityMapping | None = None
    """Only for the validation of tokens."""


Cause = Literal["unknown", "no-service", "policy", "cordoned", "unreachable", "request"]
"""The cause for metrics: a property of the cloud, or "request" if the target itself is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a target cannot be served."""

    status: int
    """The HTTP status that the user gets."""
    reason: str
    """One sentence for the user: lower case, no full stop."""
    cause: Cause = field(default="request", compare=False)
    """The cause of the rejection, for metrics."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A cloud of a fan-out that cannot be asked."""

    cloud: str
    status: int
    """The HTTP status that the cloud's own target would get."""
    cause: Cause


@dataclass(frozen=True, slots=True, kw_only=True)
class Fanout:
    """One request that the site's collector sends to several clouds."""

    operator: Literal["&", "^"]
    """"&": all of them; "^": the one that has the resource."""
    members: tuple[str, ...]
    """The clouds that can be asked, in the order of the expression, each once; at least one."""
    missing: tuple[Missing, ...] = ()
    """The clouds that cannot, in that order."""
    lists: str = ""
    """The lists of a declared service type as JSON; "" for OpenStack's, which the collector knows.
    """


def missing_text(missing: Iterable[Missing]) -> str:
    """Return clouds that cannot be asked as the collector reads them: `d=404/unknown,…`."""
    return ",".join(f"{each.cloud}={each.status}/{each.cause}" for each in missing)


Plan = Route | Fanout | Rejection


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A cloud of an expression that the plan leaves out."""

    cloud: str
    reason: str
    cause: Cause
