from pathlib import Path

import yaml

from demo.openstack_files import catalog
from demo.site import make_sites
from demo.sites import borrowed_manifest, manifest
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import CloudPattern


def test_a_site_trusts_the_others_by_name(tmp_path: Path) -> None:
    (site,) = make_sites(["cloud-1"], tmp_path)

    cloud = parse_manifest(manifest(site, ["cloud-3", "cloud-2"]), "demo")

    trusted = (CloudPattern(name="cloud-2"), CloudPattern(name="cloud-3"))
    (rule,) = cloud.accept
    assert rule.clouds == trusted
    assert rule.identity is not None
    assert rule.identity.clouds == trusted
    assert cloud.front is not None
    assert cloud.front.port == site.front


def test_a_borrowed_cloud_has_the_services_of_the_lender_and_no_envoy(tmp_path: Path) -> None:
    (lender,) = make_sites(["cloud-2"], tmp_path)

    cloud = parse_manifest(borrowed_manifest("cloud-9", lender), "demo")

    assert (cloud.front, cloud.peer) == (None, None)
    assert cloud.services["image"].endpoints[0].port == lender.services["image"]
    assert cloud.accept[0].clouds == (CloudPattern(labels={"fleet": "demo"}),)


def test_sites_have_their_own_ports_and_folders(tmp_path: Path) -> None:
    sites = make_sites(["cloud-1", "cloud-2"], tmp_path)

    ports = {
        port
        for site in sites
        for port in (*site.services.values(), site.front, site.peer, site.envoy_admin)
    }
    assert len(ports) == 10
    assert all(site.folder.is_dir() for site in sites)


def test_a_service_of_one_site_is_in_the_catalog_of_the_others(tmp_path: Path) -> None:
    without, owner = make_sites(
        ["cloud-1", "cloud-2"], tmp_path, only={"cloud-2": ("block-storage",)}
    )

    assert "block-storage" not in without.services
    assert "block-storage" in owner.services
    assert (without.elsewhere, owner.elsewhere) == (("block-storage",), ())
    assert catalog(without)["block-storage"].startswith(f"{without.front_url}/block-storage")


def test_a_front_has_ports_for_single_services(tmp_path: Path) -> None:
    (site,) = make_sites(["cloud-1"], tmp_path, front_ports=("image",))

    cloud = parse_manifest(manifest(site, ["cloud-2"]), "demo")

    assert cloud.front is not None
    assert cloud.front.ports == {"image": site.front_ports["image"]}


def test_manifests_of_the_demo_are_read_back_from_their_file(tmp_path: Path) -> None:
    """`scopeway cloud put` refuses YAML's aliases, and a list that stands twice becomes one."""
    (site,) = make_sites(["cloud-1"], tmp_path)

    assert "&" not in yaml.safe_dump(manifest(site, ["cloud-2"]))
