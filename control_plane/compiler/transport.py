"""How the Envoy of one site reaches the Envoy of another: the one place that decides it.

Peers speak HTTP/2 without TLS, and so only on loopback unless the operator allows more. Mutual TLS
replaces the two functions below and nothing else: `peer_hop` stops refusing, and
`transport_fields` returns the transport socket with the SAN of the cloud.
"""

from functools import lru_cache
from ipaddress import ip_address

from control_plane.clouds.model import Peer
from control_plane.compiler.outcome import PeerHop, Rejection


def peer_hop(cloud: str, peer: Peer, service: str, *, insecure_peers: bool) -> PeerHop | Rejection:
    """Return the way to a service of another cloud through its peer listener."""
    if not (insecure_peers or _is_loopback(peer.address)):
        return Rejection(
            status=503,
            reason=f"the peer of {cloud} at {peer.address} is not on loopback, and peers speak "
            "plain HTTP/2; --insecure-peers allows it",
            cause="unreachable",
        )
    return PeerHop(cloud=cloud, address=peer.address, port=peer.port, prefix=f"/{service}")


def transport_fields(hop: PeerHop) -> bytes:
    """Return the fields that a peer's `Cluster` has for its transport; none without TLS."""
    del hop
    return b""


@lru_cache(maxsize=1024)
def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"
