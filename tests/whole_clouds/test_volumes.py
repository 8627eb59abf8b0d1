"""Volumes of another cloud's Cinder for servers of this one."""

import pytest
from harness.openstack import Clouds

from control_plane.demo.full import volumes
from control_plane.demo.full.scene import Scene


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


def test_a_cloud_without_volumes_says_so(clouds: Clouds) -> None:
    status, output = clouds.command("volume", "list")

    assert status == 1
    assert "cloud-1 has no block-storage service" in output
