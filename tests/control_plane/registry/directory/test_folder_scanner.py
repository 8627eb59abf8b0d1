"""Scans of a folder of manifests: what they report as changed, and when as deleted."""

import os
from pathlib import Path

from manifest_folders import Clock, settled, write
from registry_model import a_cloud, written
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.registry.directory.folder_scanner import GONE_AFTER, FolderScanner


def test_the_first_scan_returns_every_document(place: Path) -> None:
    write(place / "a.yaml", "a")
    write(place / "b.yml", "b", "c")
    batch = FolderScanner(place).scan()

    assert batch.complete
    assert batch.upserts == {
        f"{place}/a.yaml#a": a_cloud("a"),
        f"{place}/b.yml#b": a_cloud("b"),
        f"{place}/b.yml#c": a_cloud("c"),
    }


def test_a_scan_ignores_other_files_hidden_files_and_folders(place: Path) -> None:
    write(place / "a.json", "a")
    write(place / ".b.yaml", "b")
    write(place / "c.yaml~", "c")
    (place / "d.yaml").mkdir()
    os.mkfifo(place / "f.yaml")

    assert FolderScanner(place).scan() == Batch(complete=True, deletes=set())


def test_a_changed_file_is_read_when_it_has_settled(place: Path, folder: FolderScanner) -> None:
    write(place / "a.yaml", "a", "b")
    settled(folder)
    write(place / "a.yaml", "a", "b", "c")

    assert folder.scan() == Batch(deletes=set())
    assert folder.scan() == Batch(upserts={f"{place}/a.yaml#c": a_cloud("c")}, deletes=set())
    assert folder.scan() == Batch(deletes=set())


def test_a_document_that_stays_away_is_deleted(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    write(place / "a.yaml", "a", "b")
    settled(folder)
    write(place / "a.yaml", "a")
    assert settled(folder) == Batch(deletes=set())
    clock.now = GONE_AFTER

    assert folder.scan() == Batch(deletes={f"{place}/a.yaml#b"})
    assert folder.scan() == Batch(deletes=set())


def test_a_document_that_returns_in_time_is_not_deleted(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    write(place / "a.yaml", "a", "b")
    settled(folder)
    write(place / "a.yaml", "a")
    settled(folder)
    write(place / "a.yaml", "a", "b")
    clock.now = GONE_AFTER - 0.1
    settled(folder)
    clock.now = 10 * GONE_AFTER

    assert folder.scan() == Batch(deletes=set())


TYPE = "---\napiVersion: scopeway.io/v1alpha1\nkind: ServiceType\nmetadata: {name: a}\n"


def test_a_service_type_is_told_from_a_cloud_of_its_name(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    write(place / "a.yaml", "a")
    (place / "types.yaml").write_text(TYPE)
    settled(folder)
    (place / "types.yaml").unlink()
    assert settled(folder) == Batch(deletes=set())
    clock.now = GONE_AFTER

    assert folder.scan() == Batch(deletes={f"{place}/types.yaml#a service-type"})


def test_a_service_type_that_moves_to_another_file_is_not_deleted_before_it_is_there(
    place: Path, folder: FolderScanner
) -> None:
    (place / "types.yaml").write_text(TYPE)
    settled(folder)
    (place / "types.yaml").rename(place / "more.yaml")
    batch = settled(folder)

    assert batch.upserts == {f"{place}/more.yaml#a service-type": ServiceType(name="a")}
    assert batch.deletes == {f"{place}/types.yaml#a service-type"}


def test_a_bad_service_type_deletes_neither_itself_nor_clouds_of_its_file(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    (place / "a.yaml").write_text(written(a_cloud("b")) + TYPE)
    settled(folder)
    (place / "a.yaml").write_text(TYPE + "spec: {protocol: grpc}\n")
    settled(folder)
    clock.now = 10 * GONE_AFTER

    assert not settled(folder).deletes


def test_a_cloud_that_moves_to_another_file_is_not_deleted(
    place: Path, folder: FolderScanner
) -> None:
    write(place / "a.yaml", "a", "b")
    settled(folder)
    write(place / "a.yaml", "a")
    settled(folder)
    write(place / "c.yaml", "b")

    assert settled(folder) == Batch(
        upserts={f"{place}/c.yaml#b": a_cloud("b")}, deletes={f"{place}/a.yaml#b"}
    )


def test_a_cloud_that_moves_to_a_file_that_has_not_settled_is_not_lost(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    """The scan sees the new file within two seconds, and reads it after them."""
    write(place / "a.yaml", "a")
    write(place / "b.yaml", "b")
    folder.scan()
    (place / "a.yaml").unlink()
    folder.scan()
    clock.now = GONE_AFTER
    write(place / "b.yaml", "b", "a")
    batches = [folder.scan(), folder.scan()]

    assert batches[0] == Batch(deletes=set())
    assert batches[1].upserts == {f"{place}/b.yaml#a": a_cloud("a")}
    assert batches[1].deletes == {f"{place}/a.yaml#a"}


def test_files_that_never_settle_do_not_delay_deletions_for_ever(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    write(place / "a.yaml", "a")
    write(place / "b.yaml", "b")
    folder.scan()
    (place / "a.yaml").unlink()
    folder.scan()
    batches = []
    for number in range(2):
        clock.now += GONE_AFTER
        write(place / "b.yaml", "b", number=str(number))
        batches.append(folder.scan())

    assert [batch.deletes for batch in batches] == [set(), {f"{place}/a.yaml#a"}]


def test_renaming_a_file_deletes_no_cloud(place: Path, folder: FolderScanner) -> None:
    write(place / "a.yaml", "a")
    settled(folder)
    (place / "a.yaml").rename(place / "b.yaml")
    batches = [folder.scan(), folder.scan()]

    assert batches[0] == Batch(deletes=set())
    assert batches[1] == Batch(
        upserts={f"{place}/b.yaml#a": a_cloud("a")}, deletes={f"{place}/a.yaml#a"}
    )


def test_a_file_that_never_settles_is_read(place: Path) -> None:
    folder = FolderScanner(place)
    folder.scan()
    seen = []
    for number in range(5):
        write(place / "a.yaml", *(f"cloud-{one}" for one in range(number + 1)))
        seen.append(len(folder.scan().upserts))

    assert sum(seen) >= 4


def test_a_file_that_stays_away_removes_its_clouds(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    write(place / "a.yaml", "a", "b")
    write(place / "c.yaml", "c")
    settled(folder)
    (place / "a.yaml").unlink()
    assert settled(folder) == Batch(deletes=set())
    clock.now = GONE_AFTER

    assert folder.scan().deletes == {f"{place}/a.yaml#a", f"{place}/a.yaml#b"}
    assert settled(folder) == Batch(deletes=set())


def test_a_git_checkout_deletes_no_cloud(place: Path, folder: FolderScanner, clock: Clock) -> None:
    """git unlinks each file that differs and makes it anew; we look in between."""
    names = [f"cloud-{number}" for number in range(30)]
    for name in names:
        (place / f"{name}.yaml").write_text(written(a_cloud(name, port=1)))
    first = settled(folder)
    batches = []
    for name in names:
        clock.now += 0.25
        (place / f"{name}.yaml").unlink()
        batches.append(folder.scan())
        (place / f"{name}.yaml").write_text(written(a_cloud(name, port=2)))
    batches += [folder.scan(), folder.scan()]

    assert not first.deletes
    assert not any(batch.deletes for batch in batches)
    assert {at: one for batch in batches for at, one in batch.upserts.items()} == {
        f"{place}/{name}.yaml#{name}": a_cloud(name, port=2) for name in names
    }


def test_a_file_that_exists_again_is_not_absent_however_often_it_changes(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    """For example, one checkout follows another, and no scan finds the file settled."""
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    path.unlink()
    batches = [folder.scan()]
    for number in range(10):
        clock.now += GONE_AFTER
        path.write_text(written(a_cloud("a", port=number + 1)))
        batches.append(folder.scan())
        path.unlink()
        batches.append(folder.scan())

    assert not any(batch.deletes for batch in batches)


def test_the_ways_in_which_editors_save_files_are_seen_as_changes(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    """Vim moves the file away and writes it anew; others write beside it and rename."""
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    path.rename(place / "a.yaml~")
    between = settled(folder)
    write(path, "a", port_of_vim="1")
    vim = settled(folder)
    write(place / ".a.yaml.x", "a", rsync="1")
    (place / ".a.yaml.x").rename(path)
    rsync = settled(folder)

    assert between == Batch(deletes=set())
    assert vim == Batch(upserts={f"{path}#a": a_cloud("a", port_of_vim="1")}, deletes=set())
    assert rsync == Batch(upserts={f"{path}#a": a_cloud("a", rsync="1")}, deletes=set())


def test_a_change_that_keeps_size_inode_and_time_is_detected(
    place: Path, folder: FolderScanner
) -> None:
    """`rsync --inplace -t` and `cp -p` leave files so when they restore a backup."""
    path = place / "a.yaml"
    path.write_text(written(a_cloud("a", port=1111)))
    settled(folder)
    times = path.stat()
    path.write_text(written(a_cloud("a", port=2222)))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert settled(folder).upserts == {f"{path}#a": a_cloud("a", port=2222)}


def test_emptying_the_folder_deletes_its_clouds(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    write(place / "a.yaml", "a")
    settled(folder)
    (place / "a.yaml").unlink()
    folder.scan()
    clock.now = GONE_AFTER

    assert folder.scan().deletes == {f"{place}/a.yaml#a"}


def test_moving_a_document_within_its_file_is_no_change(place: Path) -> None:
    write(place / "a.yaml", "a", "b")
    folder = FolderScanner(place)
    folder.scan()
    write(place / "a.yaml", "c", "b", "a")

    assert settled(folder) == Batch(upserts={f"{place}/a.yaml#c": a_cloud("c")}, deletes=set())


def test_swapping_a_config_map_is_detected(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    """As the kubelet does it: the files are links through a folder that is itself a link."""
    for version, name in (("..1", "a"), ("..2", "b")):
        (place / version).mkdir()
        write(place / version / "clouds.yaml", name)
    (place / "..data").symlink_to("..1")
    (place / "clouds.yaml").symlink_to("..data/clouds.yaml")
    first = folder.scan()
    (place / "..new").symlink_to("..2")
    (place / "..new").replace(place / "..data")
    second = settled(folder)
    clock.now = GONE_AFTER

    assert list(first.upserts) == [f"{place}/clouds.yaml#a"]
    assert list(second.upserts) == [f"{place}/clouds.yaml#b"]
    assert folder.scan().deletes == {f"{place}/clouds.yaml#a"}
