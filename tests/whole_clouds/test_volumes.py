"""Volumes of another cloud's Cinder for servers of this one."""

from typing import Any

import pytest

from demo.full import volumes
from demo.full.scenario import Scene
from openstack_clouds import Clouds


@pytest.fixture(scope="module")
def disks(scene: Scene) -> tuple[str, str]:
    """The ids of the volumes `root` and `data`."""
    return volumes.create(scene, "root", "--bootable"), volumes.create(scene, "data")


@pytest.fixture(scope="module")
def server(scene: Scene, disks: tuple[str, str]) -> str:
    """Booted from `root`; its requests to Cinder are checked."""
    assert disks
    return volumes.boot(scene)


def test_a_server_boots_from_a_volume_of_another_cloud(scene: Scene, server: str) -> None:
    assert scene.state(server, "cloud-1") == "active"


def test_a_volume_of_another_cloud_is_attached_and_freed_after_the_server(
    scene: Scene, server: str, disks: tuple[str, str]
) -> None:
    root, data = disks
    volumes.attach(scene, server, data)
    assert scene.state(root, "cloud-2", kind="volume") == "in-use"

    scene.openstack("server", "delete", "--wait", "disk1", scope=volumes.SCOPE)
    volumes.free(scene, root, data)


def test_cinder_asks_for_images_at_its_own_front_whoever_asks_first(
    clouds: Clouds, scene: Scene
) -> None:
    """It uses the user's scope, so the image comes from the cloud in that scope."""
    token = clouds.member(scope="{keystone:cloud-1;cinder:cloud-2;glance:cloud-999}")
    listed: Any = clouds.ask("GET", "/image/v2/images?name=cirros", token).json["images"]
    volume = {"name": "from-image", "size": 1, "imageRef": listed[0]["id"]}
    catalog: Any = clouds.ask("GET", "/identity/v3/auth/tokens", token, X_Subject_Token=token)
    project = catalog.json["token"]["project"]["id"]
    scene.logs.news()
    path = f"/block-storage/v3/{project}/volumes"
    made: Any = clouds.ask("POST", path, token, document={"volume": volume})

    assert made.status == 202, made
    asked = [hop for hop in scene.logs.news() if hop.at_front and hop.service == "image"]
    assert {(hop.site, hop.served_by) for hop in asked} == {("cloud-2", "cloud-999")}


def test_a_cloud_without_volumes_answers_that_it_has_none(clouds: Clouds) -> None:
    status, output = clouds.command("volume", "list")

    assert status == 1
    assert "cloud-1 has no block-storage service" in output
