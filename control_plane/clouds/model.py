"""The value of one cloud, as its manifest declares it (docs/clouds.md).

Values only: `manifest` parses and validates, `inventory` looks up. Invariant: every value here has
been validated; names and labels are lower case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

Labels = Mapping[str, str]

NO_LABELS: Labels = MappingProxyType({})

_SHORT = 8
"""A list of up to so many clouds is searched linearly, because a set takes more memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of one service."""

    address: str
    """An IP address (v4 or v6), or a host name that Envoy resolves."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The endpoints of one service of a cloud, behind the site's Envoy."""

    endpoints: tuple[Endpoint, ...]
    """At least one."""
    path: str = ""
    """The prefix of every request path: "" or "/image", never with a slash at its end."""
    host: str = ""
    """The Host header of requests; "" keeps the client's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The files of a server certificate, by their paths at the site."""

    certificate: str
    """PEM: the server certificate first, then the intermediate ones."""
    key: str
    """PEM: the private key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """The listener of a site for its own clients and services."""

    address: str
    port: int
    """The port that serves every service below a path prefix."""
    ports: Mapping[str, int] = field(default_factory=dict)
    """Service type to a port of its own, on which paths stay as they are."""
    bind: str = ""
    """The address to listen on; "" means `address`."""
    region: str = ""
    """The region that clients of this site look for in a catalog; "" for none."""
    url: str = ""
    """The URL of `port` for clients, without a path; "" if address, port and `tls` give it
    (`urls`)."""
    tls: Certificate | None = None
    """None for plain HTTP, perhaps behind a load balancer that terminates TLS."""


UNLIMITED: Final = 0
"""The value of a limit that allows any number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLimits:
    """The limits of a calling cloud; UNLIMITED allows any number, None if not stated."""

    requests_per_second: int | None = None
    requests_at_once: int | None = None


NO_LIMITS: Final = CallerLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The listener of a site for the Envoys of other sites."""

    address: str
    """The address that other sites connect to."""
    port: int
    bind: str = ""
    """The address to listen on; "" means `address`."""
    limits: CallerLimits = NO_LIMITS
    """For each calling cloud without limits in a rule (`caller_limits`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPattern:
    """One entry of a list of clouds: a name, or labels that must all match."""

    name: str | None = None
    labels: Labels = field(default_factory=lambda: NO_LABELS)
    """Not empty if and only if `name` is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudList:
    """A list of clouds. The lookup of a name takes constant time, whatever the length."""

    clouds: tuple[CloudPattern, ...]
    names: frozenset[str] = field(init=False, repr=False, compare=False)
    """The names in `clouds`; empty if the list is short."""
    others: tuple[CloudPattern, ...] = field(init=False, repr=False, compare=False)
    """The entries that are not in `names`."""

    def __post_init__(self) -> None:
        named: frozenset[str] = frozenset()
        others = self.clouds
        if len(others) > _SHORT:
            named = frozenset(each.name for each in others if each.name is not None)
            others = tuple(each for each in others if each.name is None)
        object.__setattr__(self, "names", named)
        object.__setattr__(self, "others", others)


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityRule(CloudList):
    """Whose tokens the accepting cloud accepts, and with what power."""

    roles: tuple[str, ...] = ("member", "reader")
    ids: str = "mapped"
    """"mapped" or "kept"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRule(CloudList):
    """One rule that allows other clouds to use services. Without rules, no other cloud may."""

    services: tuple[str, ...] | None = None
    """Official service types, or `identity.validate`; None means all."""
    methods: tuple[str, ...] | None = None
    """HTTP methods in upper case; None means all."""
    identity: IdentityRule | None = None
    limits: CallerLimits = NO_LIMITS
    """For each of these clouds, counted over all services."""
    fanout: bool = True
    """Whether the rule also allows requests that are part of a fan-out (`&`, `^`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One independent cloud."""

    name: str
    """An RFC 1123 label of at most 63 characters."""
    labels: Labels = field(default_factory=lambda: NO_LABELS)
    front: Front | None = None
    """None if the site has no front."""
    peer: Peer | None = None
    """None if other sites reach the service endpoints directly."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """Official service type to its endpoints."""
    accept: tuple[AcceptRule, ...] = ()
    accept_mode: str = "enforce"
    """"enforce", or "audit": requests that `accept` denies are allowed, logged and counted."""
