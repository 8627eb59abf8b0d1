"""Servers of whole clouds, by the real command: the steps of the demo, and more."""

from typing import Any
from uuid import UUID

import pytest

from demo.full import big_image, steps
from demo.full.scenario import Scene
from demo.full.steps import HEADLINE_SCOPE, WITH_NETWORK
from openstack_clouds import Clouds


def test_the_first_command_of_the_demo_boots_a_server_at_cloud_1(scene: Scene, cirros: str) -> None:
    assert scene.state(cirros, "cloud-1") == "active"


def test_flavors_have_different_ids_at_each_cloud(clouds: Clouds) -> None:
    ids = {}
    for cloud in ("cloud-1", "cloud-999"):
        flavors: Any = clouds.ask(
            "GET", "/compute/v2.1/flavors", clouds.member(cloud), cloud=cloud
        ).json["flavors"]
        ids[cloud] = UUID(flavors[0]["id"])
    assert ids["cloud-1"] != ids["cloud-999"]


def test_a_server_uses_identity_image_and_compute_of_three_clouds(scene: Scene, deb: str) -> None:
    assert scene.state(deb, "cloud-999") == "active"
    assert scene.state(deb, "cloud-1") == ""


def test_a_server_elsewhere_has_a_port_where_its_network_is_bound(scene: Scene) -> None:
    server = steps.three_clouds_and_network(scene)

    shown = scene.openstack("server", "show", server, "-c", "addresses", scope=WITH_NETWORK)
    assert "shared=10.0." in shown.output
    steps.delete(scene, {"deb2": server}, at="cloud-999", scope=WITH_NETWORK)


def test_nova_compute_fetches_a_rescue_image_of_another_cloud(scene: Scene, plain: str) -> None:
    steps.rescue(scene, "plain1", plain)

    assert scene.state(plain, "cloud-1") == "active"


def test_a_large_image_is_streamed_through_two_envoys(scene: Scene) -> None:
    big_image.tell(scene)


def test_an_image_of_another_cloud_is_shared_with_members_of_both(scene: Scene) -> None:
    steps.share(scene)


@pytest.mark.parametrize("scope", [HEADLINE_SCOPE, None], ids=["scoped", "plain"])
def test_a_snapshot_is_stored_at_the_image_cloud_of_the_scope(
    scene: Scene, scope: str | None, plain: str
) -> None:
    steps.snapshot(scene, "plain1", f"snap-{'there' if scope else 'here'}", scope=scope)


@pytest.mark.usefixtures("plain", "cirros", "deb")
def test_lists_have_the_servers_and_image_names_of_their_scope(scene: Scene) -> None:
    steps.lists(scene)


def test_servers_are_deleted_with_and_without_a_scope(scene: Scene) -> None:
    near, far = (steps.boot_at_home(scene, name) for name in ("gone1", "gone2"))

    steps.delete(scene, {"gone1": near}, at="cloud-1", scope=None)
    steps.delete(scene, {"gone2": far}, at="cloud-1", scope=HEADLINE_SCOPE)

    assert [scene.state(each, "cloud-1") for each in (near, far)] == ["deleted", "deleted"]
