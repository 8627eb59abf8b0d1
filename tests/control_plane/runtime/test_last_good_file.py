import errno
import os
import stat
from pathlib import Path

import pytest

from registry_model import a_cloud
from scopeway.control_plane.catalog.catalog import Catalog
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.declared_types import declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import AcceptRule, Cloud, CloudPattern
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.registry.directory.yaml_documents import MAX_CHARACTERS
from scopeway.control_plane.registry.documents import MAX_BYTES, to_json
from scopeway.control_plane.runtime import last_good_file
from scopeway.control_plane.runtime.last_good_file import FILE, LastGoodDamaged, LastGoodFile

KNOWN = Inventory().apply({name: a_cloud(name) for name in ("a", "b")})
FORMAT_1 = Path(__file__).parents[2] / "testdata/state/format-1.jsonl"
"""Two clouds and two cordons, as versions since e99f48c write them."""


def names(folder: Path) -> list[str | None]:
    saved = last_good_file.load(folder)
    assert saved is not None
    return [entry.name for entry in saved.entries.values()]


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_saved_clouds_are_read_back(tmp_path: Path) -> None:
    last_good_file.save(tmp_path, KNOWN, "etcd://here")
    saved = last_good_file.load(tmp_path)

    assert saved is not None
    assert list(saved.entries.values()) == [a_cloud("a"), a_cloud("b")]
    assert saved.registry == "etcd://here"
    assert files(tmp_path) == [FILE]


def test_an_empty_inventory_can_be_saved_and_read_back(tmp_path: Path) -> None:
    last_good_file.save(tmp_path, Inventory(), "etcd://here")

    assert names(tmp_path) == []


def test_loading_without_a_file_returns_none(tmp_path: Path) -> None:
    assert last_good_file.load(tmp_path) is None


def test_a_half_written_file_does_not_replace_the_last_one(tmp_path: Path) -> None:
    last_good_file.save(tmp_path, KNOWN, "etcd://here")
    (tmp_path / f".{FILE}.new").write_bytes(b"half")

    assert names(tmp_path) == ["a", "b"]


def test_a_file_of_an_earlier_version_is_read_and_written_unchanged(tmp_path: Path) -> None:
    """So control planes of both versions can run one after the other, in either order."""
    (tmp_path / FILE).write_bytes(FORMAT_1.read_bytes())
    saved = last_good_file.load(tmp_path)
    assert saved is not None
    change = Catalog().apply(Batch(upserts=saved.entries, complete=True), now=0)

    assert not change.problems
    assert {cloud.name for cloud in change.inventory} == {"cloud-1", "cloud-2"}
    assert dict(change.inventory.cordons) == {"cloud-2": "new disks until noon", "cloud-9": ""}
    last_good_file.save(tmp_path, change.inventory, saved.registry)
    assert (tmp_path / FILE).read_bytes() == FORMAT_1.read_bytes()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"EdgeCloud", b"EdgeCrowd", "is damaged"),
        (b'"b"}', b"", "is damaged"),
        (b'"format": 1', b'"format": 0', "is damaged"),
        (b'"format": 1', b'"format": true', "is not a file of saved clouds"),
        (
            b'"format": 1',
            b'"format": 2',
            r"by a newer version of Scopeway \(format 2, and this version reads format 1\)",
        ),
        (b"{", b"", "is not a file of saved clouds"),
        (b"{", b"[" * 100_000, "is not a file of saved clouds"),
        (b"\n", b"", "is not a file of saved clouds"),
    ],
)
def test_an_unusable_file_is_refused_and_kept(
    tmp_path: Path, old: bytes, new: bytes, reason: str
) -> None:
    last_good_file.save(tmp_path, KNOWN, "etcd://here")
    path = tmp_path / FILE
    path.write_bytes(path.read_bytes().replace(old, new))
    content = path.read_bytes()

    with pytest.raises(LastGoodDamaged, match=reason):
        last_good_file.load(tmp_path)
    kept = last_good_file.set_aside(tmp_path, KNOWN)
    last_good_file.save(tmp_path, KNOWN, "etcd://here")
    assert kept is not None
    assert kept[1].read_bytes() == content
    assert names(tmp_path) == ["a", "b"]


def test_a_fifo_in_place_of_the_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)

    with pytest.raises(LastGoodDamaged, match="is not a file"):
        last_good_file.load(tmp_path)
    assert last_good_file.set_aside(tmp_path, KNOWN) is not None


def test_a_good_file_is_kept_in_place_and_leftovers_of_a_crash_are_removed(tmp_path: Path) -> None:
    last_good_file.save(tmp_path, KNOWN, "etcd://here")
    for name in (f".{FILE}.new", f".{FILE}.x.new", f".{FILE}.y.new"):
        (tmp_path / name).touch()
    for name in (f".{FILE}.new", f".{FILE}.x.new"):
        os.utime(tmp_path / name, (1, 1))

    assert last_good_file.set_aside(tmp_path, KNOWN) is None
    assert files(tmp_path) == [f".{FILE}.y.new", FILE]


@pytest.mark.parametrize(("size", "gone", "kept"), [(10, 6, True), (10, 5, False), (9, 9, False)])
def test_a_file_is_kept_beside_the_new_one_if_most_of_its_clouds_are_gone(
    tmp_path: Path, size: int, gone: int, kept: bool
) -> None:
    """A control plane serves what it finds at its start, but that may be a wiped etcd."""
    old = Inventory().apply({f"c{each}": a_cloud(f"c{each}") for each in range(size)})
    old = old.with_cordons({"c1": "why"})
    new = old.apply({}, [f"c{each}" for each in range(gone)])
    last_good_file.save(tmp_path, old, "etcd://here")
    content = (tmp_path / FILE).read_bytes()
    aside = last_good_file.set_aside(tmp_path, new)
    assert (tmp_path / FILE).read_bytes() == content
    last_good_file.save(tmp_path, new, "etcd://here")

    assert (aside is not None) == kept
    if aside is not None:
        assert aside[0] == "6 of 10 clouds that were saved are not registered any more"
        assert aside[1].read_bytes() == content
    assert len(names(tmp_path)) == size - gone + 1


def test_only_the_owner_can_read_saved_clouds(tmp_path: Path) -> None:
    old_mask = os.umask(0)
    try:
        last_good_file.save(tmp_path / "state", KNOWN, "etcd://here")
    finally:
        os.umask(old_mask)

    assert stat.S_IMODE((tmp_path / "state" / FILE).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "state").stat().st_mode) == 0o700


def test_saving_replaces_a_link_and_leaves_its_target_unchanged(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_text("mine")
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / FILE).symlink_to(tmp_path / "one")
    (folder / f".{FILE}.new").symlink_to(tmp_path / "two")
    last_good_file.save(folder, KNOWN, "etcd://here")

    assert not (folder / FILE).is_symlink()
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text() == "mine"


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    last_good_file.save(tmp_path, KNOWN, "etcd://here")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(OSError, match="No space left"):
        last_good_file.save(tmp_path, Inventory(), "etcd://here")

    assert files(tmp_path) == [FILE]
    assert names(tmp_path) == ["a", "b"]


def test_saving_syncs_the_file_and_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def sync(number: int) -> None:
        calls.append("folder" if stat.S_ISDIR(os.fstat(number).st_mode) else "file")
        fsync(number)

    def rename(old: str, new: Path) -> None:
        calls.append("rename")
        replace(old, new)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", rename)
    last_good_file.save(tmp_path, KNOWN, "etcd://here")

    assert calls == ["file", "rename", "folder"]


def test_two_control_planes_with_one_folder_leave_a_complete_file(tmp_path: Path) -> None:
    one, two = LastGoodFile(tmp_path, "etcd://one"), LastGoodFile(tmp_path, "etcd://two")
    one.save(KNOWN)
    two.save(Inventory())

    assert not one.still_current()
    assert two.still_current()
    assert names(tmp_path) == []
    assert files(tmp_path) == [FILE]


def test_a_deleted_file_is_not_current(tmp_path: Path) -> None:
    file = LastGoodFile(tmp_path / "state", "etcd://here")
    file.save(KNOWN)
    (tmp_path / "state" / FILE).unlink()
    assert not file.still_current()
    (tmp_path / "state").rmdir()
    assert not file.still_current()
    file.save(KNOWN)

    assert file.still_current()


def test_saving_a_change_writes_changed_clouds_and_keeps_the_others(tmp_path: Path) -> None:
    file = LastGoodFile(tmp_path, "etcd://here")
    file.save(KNOWN)
    file.save(KNOWN.apply({"b": a_cloud("b", port=7), "c": a_cloud("c")}, ["a"]))
    saved = last_good_file.load(tmp_path)

    assert saved is not None
    assert list(saved.entries.values()) == [a_cloud("b", port=7), a_cloud("c")]


def test_a_saved_cloud_longer_in_json_than_in_yaml_is_read_back(tmp_path: Path) -> None:
    names = [f"cloud-of-a-long-name-{number:08}" for number in range(8192)]
    patterns = tuple(CloudPattern(name=name) for name in names)
    assert len(",".join(names)) < MAX_CHARACTERS
    cloud = Cloud(name="a", accept=(AcceptRule(clouds=patterns),))
    assert len(to_json(cloud)) > MAX_BYTES
    last_good_file.save(tmp_path, Inventory().apply({"a": cloud}), "dir:x")
    saved = last_good_file.load(tmp_path)

    assert saved is not None
    assert list(saved.entries.values()) == [cloud]


def test_cordons_are_saved_with_the_clouds(tmp_path: Path) -> None:
    last_good_file.save(tmp_path, KNOWN.with_cordons({"b": "why", "z": ""}), "etcd://here")
    saved = last_good_file.load(tmp_path)

    assert saved is not None
    assert Cordon(name="b", reason="why") in saved.entries.values()
    change = Catalog().apply(Batch(upserts=saved.entries, complete=True), now=0)
    assert dict(change.inventory.cordons) == {"b": "why", "z": ""}
    assert not change.problems


def test_service_types_are_saved_before_the_clouds(tmp_path: Path) -> None:
    sensor = ServiceType(name="sensor", aliases=("probe",), forward=("authorization",))
    declared, _ = declare([sensor, ServiceType(name="lamp", protocol="openstack")])
    last_good_file.save(tmp_path, KNOWN.with_service_types(declared), "etcd://here")

    saved = last_good_file.load(tmp_path)
    assert saved is not None
    change = Catalog().apply(Batch(upserts=saved.entries, complete=True), now=0)

    assert names(tmp_path) == ["lamp", "sensor", "a", "b"]
    assert not change.problems
    assert change.inventory.service_type("sensor") == sensor
    assert change.inventory.service_types.official("probe") == "sensor"
