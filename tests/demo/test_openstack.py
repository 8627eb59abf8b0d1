from pathlib import Path

import pytest

from demo.errors import PartMissing
from demo.openstack import find_openstack

PROGRAMS = ("keystone-manage", "glance-manage", "openstack", "python")


def environment(folder: Path, *, without: str = "") -> Path:
    (folder / "bin").mkdir(parents=True)
    for name in PROGRAMS:
        if name != without:
            (folder / "bin" / name).touch()
    return folder


def test_an_openstack_environment_is_found_by_its_folder_or_its_python(tmp_path: Path) -> None:
    folder = environment(tmp_path / "openstack")

    assert find_openstack(folder) == folder
    assert find_openstack(folder / "bin" / "python") == folder


def test_an_openstack_environment_in_the_working_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = environment(tmp_path / ".venv-openstack")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.prefix", str(tmp_path / "elsewhere" / ".venv"))

    assert find_openstack() == folder


def test_the_program_that_an_openstack_environment_lacks_is_named(tmp_path: Path) -> None:
    folder = environment(tmp_path / "openstack", without="glance-manage")

    with pytest.raises(PartMissing, match=r"'glance-manage' in .*openstack/bin"):
        find_openstack(folder)
