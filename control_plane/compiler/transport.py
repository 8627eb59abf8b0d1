"""How the Envoy of one site reaches another site: the one place that decides it.

With a trust domain, peers speak mutual TLS, and each side checks that the other is the cloud that
it means. Without one they speak plain HTTP/2, and so only on loopback unless the operator allows
more. Where there is no peer, services are asked in plain HTTP, and nothing proves who answers: that
goes only to places which the operator has named, whatever the registry says.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from scopeway.control_plane.clouds.model import Cloud, Peer
from scopeway.control_plane.compiler.links import places
from scopeway.control_plane.compiler.outcome import Direct, PeerHop, Rejection
from scopeway.control_plane.identity import spiffe_id
from scopeway.control_plane.site import tls
from scopeway.xds.wire import field_bytes

# envoy.config.cluster.v3.Cluster
_TRANSPORT_SOCKET = 24

Place = IPv4Network | IPv6Network | str
"""A network, or a host name as manifests have it: what that resolves to, its zone says."""

LOOPBACK: tuple[Place, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"), "localhost")


def peer_hop(
    cloud: str, peer: Peer, service: str, *, insecure_peers: bool, trust_domain: str | None
) -> PeerHop | Rejection:
    """Return the way to a service of another cloud through its peer listener."""
    if trust_domain is None and not (insecure_peers or is_loopback(peer.address)):
        return Rejection(
            status=503,
            reason=f"the peer of {cloud} at {peer.address} is not on loopback, and peers speak "
            "plain HTTP/2; --insecure-peers allows it",
            cause="unreachable",
        )
    identity = "" if trust_domain is None else spiffe_id(trust_domain, cloud)
    return PeerHop(
        cloud=cloud, address=peer.address, port=peer.port, prefix=f"/{service}", identity=identity
    )


def direct_hop(
    cloud: Cloud, service: str, *, direct: tuple[Place, ...] | None, trust_domain: str | None
) -> Direct | Rejection:
    """Return the way to the endpoints of a cloud without a peer.

    Args:
        cloud: The cloud, which has the service.
        service: Its official type.
        direct: Where such endpoints may be; None: on loopback, but with a trust domain nowhere.
        trust_domain: Of the certificates of peers; None: there are none.
    """
    found = cloud.services[service]
    if direct is None:
        direct = LOOPBACK if trust_domain is None else ()
    for endpoint in found.endpoints:
        if not is_among(endpoint.address, direct):
            return Rejection(
                status=503,
                reason=f"{cloud.name} has no peer, and its {service} service at {endpoint.address} "
                "would be asked in plain HTTP; --direct allows it",
                cause="unreachable",
            )
    return Direct(cloud=cloud.name, service=found, places=places(cloud, service))


def transport_fields(hop: PeerHop) -> bytes:
    """Return the fields that a peer's `Cluster` has for its transport; none without TLS."""
    if not hop.identity:
        return b""
    return field_bytes(_TRANSPORT_SOCKET, tls.to_peer(hop.identity))


def is_loopback(address: str) -> bool:
    """Return whether an address is reached from its own machine only."""
    return is_among(address, LOOPBACK)


def is_among(address: str, allowed: tuple[Place, ...]) -> bool:
    """Return whether an IP address is in one of some networks, or a host name is one of them.

    Two kinds are in no network, since the system connects somewhere else than they say: an IPv4
    address written as IPv6 (`::ffff:127.0.0.1`), which no list of IPv6 networks means, and the
    unspecified address (`0.0.0.0`, `::`), which leads to the machine itself.
    """
    ip = _ip(address)
    if ip is None:
        return address in allowed
    if ip.is_unspecified or (isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None):
        return False
    return any(not isinstance(place, str) and ip in place for place in allowed)


@lru_cache(maxsize=16_384)
def _ip(address: str) -> IPv4Address | IPv6Address | None:
    """Read an address, which takes longer than all else about it; None: it is a host name."""
    try:
        return ip_address(address)
    except ValueError:
        return None
