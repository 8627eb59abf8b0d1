"""How peers are reached."""

import pytest

from control_plane.clouds.model import Peer
from control_plane.compiler.outcome import PeerHop, Rejection
from control_plane.compiler.transport import peer_hop, transport_fields


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_peers_on_loopback_are_reached_without_tls(address: str) -> None:
    hop = peer_hop(
        "cloud-2",
        Peer(address=address, port=8443),
        "image",
        insecure_peers=False,
        trust_domain=None,
    )

    assert hop == PeerHop(cloud="cloud-2", address=address, port=8443, prefix="/image")
    assert transport_fields(hop) == b""


@pytest.mark.parametrize("address", ["203.0.113.9", "2001:db8::1", "localhost.example", "0.0.0.0"])
def test_other_peers_need_the_operators_word(address: str) -> None:
    peer = Peer(address=address, port=8443)

    refused = peer_hop("cloud-2", peer, "image", insecure_peers=False, trust_domain=None)

    assert isinstance(refused, Rejection)
    assert refused.status == 503
    assert address in refused.reason
    assert "--insecure-peers" in refused.reason
    assert isinstance(
        peer_hop("cloud-2", peer, "image", insecure_peers=True, trust_domain=None), PeerHop
    )


@pytest.mark.parametrize("address", ["127.0.0.1", "203.0.113.9", "peer.example"])
def test_with_a_trust_domain_peers_are_reached_anywhere_and_by_their_name_only(
    address: str,
) -> None:
    peer = Peer(address=address, port=8443)

    hop = peer_hop("cloud-2", peer, "image", insecure_peers=False, trust_domain="fleet")

    assert isinstance(hop, PeerHop)
    assert hop.identity == "spiffe://fleet/cloud/cloud-2"
    assert b"spiffe://fleet/cloud/cloud-2" in transport_fields(hop)
