"""The listeners of a site that have an address: its front, the ports of the front, and its peer."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.translator import names


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerTransport:
    """How the Envoys of sites connect to each other."""

    insecure: bool
    """Without TLS, beyond loopback."""
    trust_domain: str | None
    """None: without TLS."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A listener with an address."""

    name: str
    kind: str
    """`front` or `peer`; also the entry of the Lua filters."""
    address: str
    port: int
    service: str | None = None
    """The one service of a front's port of its own."""


def entries(cloud: Cloud, peers: PeerTransport) -> Iterator[Entry]:
    """Yield the listeners of a cloud's site. Without TLS a peer listens on loopback only."""
    front, peer = cloud.front, cloud.peer
    if front is not None:
        bind = front.bind or front.address
        yield Entry(name=names.FRONT, kind=names.FRONT, address=bind, port=front.port)
        for service, port in front.ports.items():
            name = names.front_of(service)
            yield Entry(name=name, kind=names.FRONT, address=bind, port=port, service=service)
    if peer is not None:
        bind = peer.bind or peer.address
        # without TLS, whoever reaches a peer is who it says
        if peers.trust_domain is not None or peers.insecure or ip_address(bind).is_loopback:
            yield Entry(name=names.PEER, kind=names.PEER, address=bind, port=peer.port)
