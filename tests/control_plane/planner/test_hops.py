"""How a route reaches another cloud: by its peer, or directly."""

from ipaddress import ip_network

import pytest

from scopeway.control_plane.clouds.addresses import AllowedAddress
from scopeway.control_plane.clouds.model import Cloud, Endpoint, Peer, Service
from scopeway.control_plane.planner.hops import direct_hop, peer_hop
from scopeway.control_plane.planner.plan import Direct, PeerHop, Rejection
from scopeway.control_plane.translator.clusters import transport_fields


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
def test_peers_beyond_loopback_need_the_option_insecure_peers(address: str) -> None:
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
def test_a_trust_domain_allows_peers_anywhere_and_requires_their_name(
    address: str,
) -> None:
    peer = Peer(address=address, port=8443)

    hop = peer_hop("cloud-2", peer, "image", insecure_peers=False, trust_domain="fleet")

    assert isinstance(hop, PeerHop)
    assert hop.identity == "spiffe://fleet/cloud/cloud-2"
    assert b"spiffe://fleet/cloud/cloud-2" in transport_fields(hop)


def direct(
    *addresses: str, allowed: tuple[AllowedAddress, ...] | None, trust_domain: str | None = "fleet"
) -> Direct | Rejection:
    endpoints = tuple(Endpoint(address=each, port=80) for each in addresses)
    cloud = Cloud(name="cloud-2", services={"image": Service(endpoints=endpoints)})
    return direct_hop(cloud, "image", direct=allowed, trust_domain=trust_domain)


NAMED = (ip_network("203.0.113.0/24"), ip_network("2001:db8::/32"), "glance.example")
LOCAL = ["127.0.0.1", "127.9.9.9", "::1", "localhost"]
TRICKS = [
    *("169.254.169.254", "fe80::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:7f00:1"),
    *("0x7f000001", "127.1.", "localhost.", "LOCALHOST", "::127.0.0.1", "0.0.0.1", "::"),
]


@pytest.mark.parametrize(
    "address", ["203.0.113.9", "2001:db8::9", "2001:DB8:0::9", "glance.example"]
)
def test_a_cloud_without_a_peer_is_reached_at_addresses_that_the_operator_allows(
    address: str,
) -> None:
    assert isinstance(direct(address, allowed=NAMED), Direct)


@pytest.mark.parametrize("address", [*LOCAL, *TRICKS, "::ffff:203.0.113.9", "x.glance.example"])
def test_a_cloud_without_a_peer_is_unreachable_at_any_other_address(address: str) -> None:
    refused = direct("203.0.113.9", address, allowed=NAMED)

    assert isinstance(refused, Rejection)
    assert (refused.status, refused.cause) == (503, "unreachable")
    assert f"its image service at {address} would be asked in plain HTTP" in refused.reason
    assert "--direct" in refused.reason


@pytest.mark.parametrize(
    "address", ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:0.0.0.0", "::", "0::0", "0.0.0.0"]
)
def test_mapped_and_unspecified_addresses_are_in_no_allowed_network(address: str) -> None:
    everything = (ip_network("::/0"), ip_network("0.0.0.0/0"), ip_network("::ffff:0:0/96"))

    assert isinstance(direct(address, allowed=everything), Rejection)
    assert isinstance(direct("192.0.2.1", "2001:db8::1", allowed=everything), Direct)


@pytest.mark.parametrize("address", [*LOCAL, *TRICKS, "203.0.113.9", "glance.example"])
def test_a_cloud_without_a_peer_is_reached_on_loopback_by_default_and_not_with_tls(
    address: str,
) -> None:
    plain = direct(address, allowed=None, trust_domain=None)

    assert isinstance(direct(address, allowed=None), Rejection)
    assert isinstance(plain, Direct if address in LOCAL else Rejection)
