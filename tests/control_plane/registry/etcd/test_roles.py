"""etcd's own access control, with the commands that docs/identities.md gives."""

from collections.abc import Callable
from pathlib import Path

import pytest

from registry_model import Etcd, a_cloud, reading
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry import RegistryUnavailable, open_registry, open_store

pytestmark = [pytest.mark.etcd, pytest.mark.asyncio]

DOCUMENT = Path(__file__).parents[4] / "docs" / "identities.md"
PASSWORD = "pass"


@pytest.fixture
def etcd(make_etcd: Callable[..., Etcd]) -> Etcd:
    """An etcd that was set up as the document says."""
    etcd = make_etcd()
    text = DOCUMENT.read_text().partition("<!-- roles -->")[2]
    commands = [line.split()[1:] for line in text.splitlines() if line.startswith("    etcdctl ")]
    assert commands[-1] == ["auth", "enable"]
    for command in commands:
        if command[:2] == ["user", "add"]:  # which asks for the password
            command[2] += f":{PASSWORD}"
        etcd.control(*command)
    return etcd


def url(etcd: Etcd, user: str) -> str:
    return f"etcd://{user}:{PASSWORD}@{etcd.endpoint}"


async def test_a_site_can_write_its_own_cloud_and_the_control_plane_sees_it(etcd: Etcd) -> None:
    await open_store(url(etcd, "cloud-1")).put(a_cloud("cloud-1"))
    async with reading(open_registry(url(etcd, "control-plane"))) as reader:
        assert reader.names == {"cloud-1"}
        await open_store(url(etcd, "cloud-1")).put(a_cloud("cloud-1", port=7))
        await reader.until(lambda: reader.inventory.get("cloud-1") == a_cloud("cloud-1", port=7))


@pytest.mark.parametrize("user", ["cloud-1", "control-plane"])
async def test_no_other_user_can_write_or_delete_a_cloud(etcd: Etcd, user: str) -> None:
    await open_store(url(etcd, "root")).put(a_cloud("cloud-2"))
    store = open_store(url(etcd, user))
    for attempt in (
        store.put(a_cloud("cloud-2", port=7)),
        store.put(a_cloud("cloud-20")),
        store.delete("cloud-2"),
        store.put_service_type(ServiceType(name="sensor")),
        store.delete_service_type("sensor"),
    ):
        with pytest.raises(RegistryUnavailable, match="permission denied"):
            await attempt

    assert await store.get("cloud-2") == a_cloud("cloud-2")


async def test_a_control_plane_that_reads_clouds_reads_service_types(etcd: Etcd) -> None:
    await open_store(url(etcd, "root")).put_service_type(ServiceType(name="sensor"))
    async with reading(open_registry(url(etcd, "control-plane"))) as reader:
        assert reader.inventory.service_type("sensor") == ServiceType(name="sensor")


async def test_a_control_plane_needs_only_the_permission_to_read_clouds(etcd: Etcd) -> None:
    """The user of the control plane cannot read anything else in that etcd."""
    with pytest.raises(RegistryUnavailable, match="permission denied"):
        async with reading(open_registry(f"{url(etcd, 'control-plane')}/other")):
            pass
