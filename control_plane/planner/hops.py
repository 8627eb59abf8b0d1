"""How the Envoy of one site reaches another site: the one place that decides it.

With a trust domain, peers speak mutual TLS, and each side checks that the other is the cloud that
it means. Without one they speak plain HTTP/2, and so only on loopback unless the operator allows
more. Where there is no peer, services are asked in plain HTTP, and nothing proves who answers: that
goes only to places which the operator has named, whatever the registry says.
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
    cloud: Cloud,
    service: str,
    *,
    direct: tuple[AllowedAddress, ...] | None,
    trust_domain: str | None,
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
        if not is_allowed(endpoint.address, direct):
            return Rejection(
                status=503,
                reason=f"{cloud.name} has no peer, and its {service} service at {endpoint.address} "
                "would be asked in plain HTTP; --direct allows it",
                cause="unreachable",
            )
    return Direct(cloud=cloud.name, service=found, link_origins=link_origins(cloud, service))
