from pathlib import Path

from demo.full import database_cache
from demo.site import make_sites

CLOUDS = ("cloud-1", "cloud-2")


def environment(folder: Path, nova: str) -> Path:
    packages = folder / "lib" / "python3.11" / "site-packages"
    for name in (f"nova-{nova}", "keystone-30.0.0"):
        (packages / f"{name}.dist-info").mkdir(parents=True)
    return folder


def kept(folder: Path, openstack: Path) -> Path:
    (folder / database_cache.DATA / "cloud_1_nova").mkdir(parents=True)
    (folder / database_cache.DATA / "cloud_1_nova" / "table").write_text("rows")
    for cloud in CLOUDS:
        for name in database_cache.KEYS:
            (folder / cloud / name).mkdir(parents=True)
            (folder / cloud / name / "0").write_text(f"{cloud} {name}")
    (folder / database_cache.STAMP).write_text(database_cache.stamp(openstack, CLOUDS))
    return folder


def test_a_saved_state_is_valid_only_for_the_versions_and_clouds_that_made_it(
    tmp_path: Path,
) -> None:
    openstack = environment(tmp_path / "old", "34.0.0")
    folder = kept(tmp_path / "kept", openstack)

    assert database_cache.is_good(folder, openstack, CLOUDS)
    assert not database_cache.is_good(folder, environment(tmp_path / "new", "34.0.1"), CLOUDS)
    assert not database_cache.is_good(folder, openstack, (*CLOUDS, "cloud-3"))


def test_a_missing_saved_state_is_invalid(tmp_path: Path) -> None:
    assert not database_cache.is_good(tmp_path / "never", tmp_path, CLOUDS)


def test_a_run_starts_with_a_copy_of_the_saved_state(tmp_path: Path) -> None:
    folder = kept(tmp_path / "kept", tmp_path)
    sites = make_sites(CLOUDS, tmp_path / "run")
    data = tmp_path / "run" / "mariadb"

    database_cache.restore(folder, sites, data)
    (data / "cloud_1_nova" / "table").write_text("changed")

    assert (folder / database_cache.DATA / "cloud_1_nova" / "table").read_text() == "rows"
    assert (sites[1].folder / "fernet-keys" / "0").read_text() == "cloud-2 fernet-keys"


def test_each_run_has_its_own_passwords() -> None:
    assert database_cache.new_password() != database_cache.new_password()
