"""How the Envoy of one site reaches the Envoy of another: the one place that decides it.

With a trust domain, peers speak mutual TLS, and each side checks that the other is the cloud that
it means. Without one they speak plain HTTP/2, and so only on loopback unless the operator allows
more.
"""

from functools import lru_cache
from ipaddress import ip_address

from control_plane.clouds.model import Peer
from control_plane.compiler.outcome import PeerHop, Rejection
from control_plane.identity import spiffe_id
from control_plane.site import tls
from xds.wire import field_bytes

# envoy.config.cluster.v3.Cluster
_TRANSPORT_SOCKET = 24


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


def transport_fields(hop: PeerHop) -> bytes:
    """Return the fields that a peer's `Cluster` has for its transport; none without TLS."""
    if not hop.identity:
        return b""
    return field_bytes(_TRANSPORT_SOCKET, tls.to_peer(hop.identity))


@lru_cache(maxsize=1024)
def is_loopback(address: str) -> bool:
    """Return whether an address is reached from its own machine only."""
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
