"""The demo clouds admit no unauthenticated caller to their peers and control plane."""

import pytest

from demo.sites import run_scopeway
from harness.http2 import Refused, send2
from openstack_clouds import HOME, IMAGES, OTHER, Clouds


@pytest.mark.parametrize("cloud", [HOME, OTHER])
def test_a_peer_of_the_demo_refuses_a_connection_without_a_certificate(
    clouds: Clouds, cloud: str
) -> None:
    with pytest.raises(Refused):
        send2(clouds.sites[cloud].peer, IMAGES)


def test_the_policies_of_the_clouds_are_enforced_at_their_own_envoys(clouds: Clouds) -> None:
    envoy = clouds.sites[OTHER].envoy_admin
    stats = "/stats?filter=http.peer.rbac.allowed"

    def allowed() -> int:
        answer = clouds.admin_page(envoy, stats)
        return int(answer.partition(": ")[2])

    before = allowed()
    assert clouds.ask("GET", IMAGES, clouds.member(), scope=f"{{glance:{OTHER}}}").status == 200
    assert allowed() > before


def test_explain_names_the_rule_of_the_demo(clouds: Clouds) -> None:
    registry = ("--registry", clouds.plane.registry, "--from", HOME)
    told = run_scopeway("explain", *registry, "--scope", f"glance:{OTHER}", "image")

    assert f"{OTHER}: accept[0]" in told
