"""How one site reaches another site.

With a trust domain, peers use mutual TLS, and each side verifies which cloud the other one is.
Without a trust domain, peers use plain HTTP/2, on loopback only unless the operator allows more. A
cloud without a peer is reached in plain HTTP, and nothing authenticates it. So its addresses must
be among those that the operator allows, whatever the registry contains.
"""

from scopeway.control_plane.clouds.addresses import (
    LOOPBACK,
    AllowedAddress,
    is_allowed,
    is_loopback,
)
from scopeway.control_plane.clouds.model import Cloud, Peer
from scopeway.control_plane.identity import spiffe_id
from scopeway.control_plane.planner.link_origins import link_origins
from scopeway.control_plane.planner.plan import Direct, PeerHop, Rejection


def peer_hop(
    cloud: str, peer: Peer, service: str, *, insecure_peers: bool, trust_domain: str | None
) -> PeerHop | Rejection:
    """Return the hop to a service of another cloud through its peer."""
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
    cloud: Cloud,
    service: str,
    *,
    direct: tuple[AllowedAddress, ...] | None,
    trust_domain: str | None,
) -> Direct | Rejection:
    """Return the hop to the endpoints of a cloud without a peer.

    Args:
        cloud: The cloud, which has the service.
        service: Its official type.
        direct: The addresses that are allowed; None allows loopback, and with a trust domain
            nothing.
        trust_domain: The trust domain of the peers' certificates; None if there are none.
    """
    found = cloud.services[service]
    if direct is None:
        direct = LOOPBACK if trust_domain is None else ()
    for endpoint in found.endpoints:
        if not is_allowed(endpoint.address, direct):
            return Rejection(
                status=503,
                reason=f"{cloud.name} has no peer, and its {service} service at {endpoint.address} "
                "would be asked in plain HTTP; --direct allows it",
                cause="unreachable",
            )
    return Direct(cloud=cloud.name, service=found, link_origins=link_origins(cloud, service))
