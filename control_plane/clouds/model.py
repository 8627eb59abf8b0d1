"""The value of one cloud, as its manifest declares it (docs/clouds.md).

Owns the shapes only: parsing and validation are in `manifest`, lookups over many clouds in
`inventory`. Invariant: every value here has been validated; names and labels are lower case.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

Labels = Mapping[str, str]

NO_LABELS: Labels = MappingProxyType({})

_SHORT = 8
"""Entries of a list of clouds that are searched one by one: a set takes more room than they do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One address of one service."""

    address: str
    """An IP address (v4 or v6), or a host name that Envoy resolves."""
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Where one service of a cloud answers, without Envoy in between."""

    endpoints: tuple[Endpoint, ...]
    """At least one."""
    path: str = ""
    """Prefix put before every request path; "" or "/image", never with a slash at its end."""
    host: str = ""
    """The Host header to send; "" leaves the client's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """The files of a server's certificate, as the Envoy of that site sees them."""

    certificate: str
    """PEM: its own first, then those between it and the authority."""
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
    """The region that clients of this site look for in a catalog; "" where they look for none."""
    url: str = ""
    """Where clients reach `port`, without a path; "" where that is what address, port and `tls` say
    (`urls`)."""
    tls: Certificate | None = None
    """None: this Envoy speaks plain HTTP here, perhaps behind something that speaks TLS."""


UNLIMITED: Final = 0
"""In the place of a limit: there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallerLimits:
    """How much each calling cloud may ask; UNLIMITED for any number, None where it isn't stated."""

    requests_per_second: int | None = None
    requests_at_once: int | None = None


NO_LIMITS: Final = CallerLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """The listener of a site for the Envoys of other sites."""

    address: str
    """What other sites connect to."""
    port: int
    bind: str = ""
    """The address to listen on; "" means `address`."""
    limits: CallerLimits = NO_LIMITS
    """For each calling cloud that no rule states others for (`caller_limits`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudPattern:
    """One entry of a list of clouds: a name, or labels that must all be equal."""

    name: str | None = None
    labels: Labels = field(default_factory=lambda: NO_LABELS)
    """Not empty exactly where `name` is None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudList:
    """A list of clouds. One that names thousands is searched as quickly as a short one."""

    clouds: tuple[CloudPattern, ...]
    names: frozenset[str] = field(init=False, repr=False, compare=False)
    """The names in `clouds`; empty where the list is short."""
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
    """Whose tokens the accepting cloud honours."""

    roles: tuple[str, ...] = ("member", "reader")
    ids: str = "mapped"
    """"mapped" or "kept"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptRule(CloudList):
    """One rule of who may use this cloud's services. No rule: nobody else may."""

    services: tuple[str, ...] | None = None
    """Official service types, or `identity.validate`; None means all."""
    methods: tuple[str, ...] | None = None
    """HTTP methods in upper case; None means all."""
    identity: IdentityRule | None = None
    limits: CallerLimits = NO_LIMITS
    """For each of these clouds, whatever it asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cloud:
    """One independent cloud."""

    name: str
    """An RFC 1123 label of at most 63 characters."""
    labels: Labels = field(default_factory=lambda: NO_LABELS)
    front: Front | None = None
    """None: no Envoy of ours stands there."""
    peer: Peer | None = None
    """None: other sites go to the service endpoints directly."""
    services: Mapping[str, Service] = field(default_factory=dict)
    """Official service type to where it answers."""
    accept: tuple[AcceptRule, ...] = ()
    accept_mode: str = "enforce"
    """"enforce", or "audit": what `accept` denies is let through, logged and counted."""
