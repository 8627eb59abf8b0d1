"""Admission of nodes: their claims against their certificate and their bootstrap."""

import pytest

from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.node_auth import admit
from scopeway.control_plane.serving.node_context import NodeContext
from scopeway.control_plane.translator.node_identity import SiteIdentity
from scopeway.control_plane.translator.node_setup import PROTOCOL, Setup
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import Node

CLOUD_1 = "spiffe://edge.example/cloud/cloud-1"
METADATA = {
    "scopeway.protocol": PROTOCOL,
    "scopeway.access_log": "/log",
    "scopeway.identity.certificate": "/c",
    "scopeway.identity.key": "/k",
    "scopeway.identity.authorities": "/a",
}


def node(*identities: str, id: str = "cloud-1/a", cluster: str = "cloud-1") -> Node:
    return Node(id=id, cluster=cluster, identities=identities, metadata=METADATA)


def admitted(checked: Node, trust_domain: str | None = "edge.example") -> NodeContext:
    return admit(checked, trust_domain=trust_domain, state=None, limits=SourceLimits())


def test_a_node_is_admitted_as_the_cloud_in_its_certificate() -> None:
    assert admitted(node(CLOUD_1)).site == "cloud-1"
    assert admitted(node(CLOUD_1, id="cloud-1")).site == "cloud-1"


def test_the_context_of_a_node_has_its_metadata() -> None:
    assert admitted(node(CLOUD_1)) == NodeContext(
        node_id="cloud-1/a",
        site="cloud-1",
        setup=Setup(access_log="/log"),
        identity=SiteIdentity(certificate="/c", key="/k", authorities="/a"),
    )


def test_a_claimed_cloud_is_not_verified_without_tls() -> None:
    claim = Node(id="cloud-2/a", cluster="cloud-1", identities=None, metadata=METADATA)

    assert admitted(claim).site == "cloud-1"


def test_a_certificate_names_no_cloud_without_a_trust_domain() -> None:
    with pytest.raises(ProtocolError, match="no cloud of the trust domain None"):
        admitted(node(CLOUD_1), None)


@pytest.mark.parametrize(
    ("checked", "reason"),
    [
        (node(CLOUD_1, cluster="cloud-2"), "claims the cloud 'cloud-2', but its certificate is"),
        (node(CLOUD_1, id="cloud-2/a"), "node 'cloud-2/a' claims the cloud 'cloud-1', but its"),
        (node(CLOUD_1, id="cloud-10/a"), "its certificate is that of cloud-1"),
        (node(CLOUD_1, id=""), "its certificate is that of cloud-1"),
        (node(), "but its certificate bears no URI"),
        (node(CLOUD_1, CLOUD_1), f"bears {CLOUD_1}, {CLOUD_1}, which is no cloud"),
        (node(CLOUD_1.replace("edge", "other")), "no cloud of the trust domain edge.example"),
        (node("spiffe://edge.example/control-plane"), "which is no cloud"),
        (node(CLOUD_1, cluster="x" * 5000), "'" + "x" * 100 + "… (5000 characters)', but"),
    ],
)
def test_a_node_that_claims_another_cloud_is_denied_with_the_reason(
    checked: Node, reason: str
) -> None:
    with pytest.raises(ProtocolError) as denied:
        admitted(checked)

    assert denied.value.status == "PERMISSION_DENIED"
    assert reason in str(denied.value)
    assert len(str(denied.value)) < 500
