"""What a node claims, against what its certificate proves."""

import pytest

from scopeway.control_plane.serving.node_auth import check_claims
from scopeway.xds.errors import ProtocolError
from scopeway.xds.source import Node

CLOUD_1 = "spiffe://edge.example/cloud/cloud-1"


def node(*identities: str, id: str = "cloud-1/a", cluster: str = "cloud-1") -> Node:
    return Node(id=id, cluster=cluster, identities=identities)


def check(checked: Node) -> None:
    check_claims(checked, "edge.example")


def test_a_node_passes_as_the_cloud_in_its_certificate() -> None:
    check(node(CLOUD_1))
    check(node(CLOUD_1, id="cloud-1"))


def test_a_channel_that_proves_nothing_believes_everything() -> None:
    check(Node(id="cloud-2/a", cluster="cloud-1", identities=None))


def test_without_a_trust_domain_nobody_is_a_cloud() -> None:
    with pytest.raises(ProtocolError, match="no cloud of the trust domain None"):
        check_claims(node(CLOUD_1), None)


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
def test_a_node_that_claims_more_is_denied_with_the_reason(checked: Node, reason: str) -> None:
    with pytest.raises(ProtocolError) as denied:
        check(checked)

    assert denied.value.status == "PERMISSION_DENIED"
    assert reason in str(denied.value)
    assert len(str(denied.value)) < 500
