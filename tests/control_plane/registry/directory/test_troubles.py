"""Unreadable files and folders remove no cloud, and errors show no text of other files."""

import asyncio
import errno
import os
from pathlib import Path
from typing import Any

import pytest

from manifest_folders import Clock, problem, settled, told, write
from registry_model import a_cloud, reading, written
from scopeway.control_plane.registry import Batch, RegistryUnavailable, open_registry
from scopeway.control_plane.registry.directory import folder_scanner
from scopeway.control_plane.registry.directory.folder_scanner import GONE_AFTER, FolderScanner


@pytest.mark.parametrize("size", [0, 1])
def test_a_file_that_was_just_truncated_keeps_its_clouds(
    place: Path, folder: FolderScanner, clock: Clock, size: int
) -> None:
    """`make-manifests > a.yaml` truncates the file before it writes, which may take any time."""
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    path.write_text("\n" * size)
    assert settled(folder) == Batch(deletes=set())
    clock.now = GONE_AFTER
    emptied = settled(folder)
    clock.now = 100 * GONE_AFTER
    later = folder.scan()
    write(path, "a", "b")
    mended = settled(folder)

    assert told(emptied) == problem(path, "is empty; to take its clouds away, remove the file")
    assert not emptied.deletes
    assert later == Batch(deletes=set())
    assert mended.deletes == {str(path)}
    assert f"{path}#b" in mended.upserts


def test_a_link_without_its_target_keeps_its_clouds(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    target, path = place / "target", place / "a.yaml"
    write(target, "a")
    path.symlink_to("target")
    settled(folder)
    target.rename(place / "elsewhere")
    assert settled(folder) == Batch(deletes=set())
    clock.now = GONE_AFTER
    away = settled(folder)
    clock.now = 100 * GONE_AFTER
    later = folder.scan()
    (place / "elsewhere").rename(target)
    back = settled(folder)

    assert told(away) == problem(path, "is a link to a file that is not there")
    assert not away.deletes
    assert later == Batch(deletes=set())
    assert back.deletes == {str(path)}


def test_a_link_that_is_dangling_from_the_start_is_reported(
    place: Path, folder: FolderScanner
) -> None:
    (place / "a.yaml").symlink_to("nowhere")
    (place / "b.yaml").symlink_to("b.yaml")

    assert told(folder.scan()) == {
        **problem(place / "a.yaml", "is a link to a file that is not there"),
        **problem(place / "b.yaml", "cannot be read: Too many levels of symbolic links"),
    }


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ELOOP, errno.ESTALE])
@pytest.mark.parametrize("call", ["stat", "open"])
def test_a_read_error_does_not_count_as_absence(
    place: Path,
    folder: FolderScanner,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    call: str,
) -> None:
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    write(path, "b")
    original = {"stat": os.stat, "open": os.open}[call]

    def fail(file: Path, *arguments: Any, **options: Any) -> object:
        if Path(file) == path:
            raise OSError(number, os.strerror(number), str(file))
        return original(file, *arguments, **options)

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        assert settled(folder) == Batch(deletes=set())
        clock.now = GONE_AFTER
        first = settled(folder)
        clock.now = 100 * GONE_AFTER
        later = settled(folder)
    mended = settled(folder)

    assert told(first) == problem(path, f"cannot be read: {os.strerror(number)}")
    assert not first.deletes
    assert later == Batch(deletes=set())
    assert mended.upserts == {f"{path}#b": a_cloud("b")}
    assert mended.deletes == {str(path)}


def test_a_file_replaced_by_another_kind_of_file_keeps_its_clouds(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    path.unlink()
    os.mkfifo(path)
    settled(folder)
    clock.now = GONE_AFTER
    batch = settled(folder)

    assert told(batch) == problem(path, "is not a file")
    assert not batch.deletes


SECRETS = [
    "root:$6$salt$hash:19000:0:99999:7:::\n\tdaemon:*:19000:0:99999:7:::\n",
    "root: &anchor secret\nother: *anchor\n",
    "token: secret\ntoken: secret\n",
    "!secret value\n",
    "kind: Secret\nmetadata: {name: secret-name}\ndata: {secret: c2VjcmV0}\n",
    "just a secret\n",
    "[secret, secret]\n",
]


@pytest.mark.parametrize("text", SECRETS)
@pytest.mark.parametrize("how", ["link", "link to a link", "link to a folder"])
def test_errors_show_no_text_of_files_outside_the_folder(
    place: Path, folder: FolderScanner, tmp_path: Path, text: str, how: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "shadow").write_text(text)
    if how == "link":
        (place / "a.yaml").symlink_to(outside / "shadow")
    elif how == "link to a link":
        (place / "b").symlink_to(outside / "shadow")
        (place / "a.yaml").symlink_to("b")
    else:
        (place / "b").symlink_to(outside)
        (place / "a.yaml").symlink_to("b/shadow")
    batch = folder.scan()

    (reason,) = told(batch).values()
    assert reason.startswith(f"{place}/a.yaml:1: is refused; the reason is not shown")
    (entry,) = batch.upserts.values()
    assert entry.name is None


def test_errors_show_the_text_of_files_linked_within_the_folder(
    place: Path, folder: FolderScanner
) -> None:
    (place / "..1").mkdir()
    (place / "..1" / "a.yaml").write_text("just a text\n")
    (place / "..data").symlink_to("..1")
    (place / "a.yaml").symlink_to("..data/a.yaml")

    (reason,) = told(folder.scan()).values()
    assert reason.endswith(': "just a text" is not an object')


def test_errors_show_the_text_of_files_of_a_folder_reached_by_a_link(place: Path) -> None:
    (place / "a.yaml").write_text("just a text\n")
    link = place.with_name("link")
    link.symlink_to(place)

    (reason,) = told(FolderScanner(link).scan()).values()
    assert reason.endswith(': "just a text" is not an object')


def test_a_link_to_a_file_outside_the_folder_declares_clouds(
    place: Path, folder: FolderScanner, tmp_path: Path
) -> None:
    write(tmp_path / "outside", "a")
    (place / "a.yaml").symlink_to(tmp_path / "outside")

    assert folder.scan().upserts == {f"{place}/a.yaml#a": a_cloud("a")}


def test_an_empty_folder_in_place_of_the_former_one_removes_no_cloud(
    place: Path, folder: FolderScanner
) -> None:
    """For example, if a file system is no longer mounted."""
    write(place / "a.yaml", "a")
    settled(folder)
    place.rename(place.with_name("elsewhere"))
    place.mkdir()
    with pytest.raises(OSError, match="an empty folder has taken its place; is it not mounted"):
        folder.scan()
    place.rmdir()
    place.with_name("elsewhere").rename(place)

    assert settled(folder) == Batch(deletes=set())


def test_absence_does_not_count_while_the_folder_itself_is_missing(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    """For example, the folder is removed and cloned again: scans see only half of it."""
    write(place / "a.yaml", "a")
    write(place / "b.yaml", "b", "c")
    write(place / "d.yaml", "d")
    folder.scan()
    write(place / "b.yaml", "b")
    (place / "a.yaml").unlink()
    settled(folder)
    other = place.rename(place.with_name("other"))
    with pytest.raises(OSError, match="No such file"):
        folder.scan()
    folder.reset()
    clock.now += 10 * GONE_AFTER
    other.rename(place)

    assert folder.scan() == Batch(deletes=set())
    assert settled(folder) == Batch(deletes=set())
    clock.now += GONE_AFTER
    assert folder.scan().deletes == {f"{place}/a.yaml#a", f"{place}/b.yaml#c"}


def test_an_unreadable_document_removes_no_cloud(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    path = place / "a.yaml"
    write(path, "a", "b")
    settled(folder)
    path.write_text(written(a_cloud("a")) + "---\nmetadata: {name: b\n")
    broken = settled(folder)
    clock.now = 100 * GONE_AFTER
    later = folder.scan()
    path.write_text(written(a_cloud("a")))
    mended = settled(folder)
    clock.now *= 2

    assert told(broken).keys() == broken.upserts.keys()
    assert not broken.deletes
    assert later == Batch(deletes=set())
    assert mended == Batch(deletes=set(broken.upserts))
    assert folder.scan().deletes == {f"{place}/a.yaml#b"}


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x80"])
def test_an_unreadable_file_removes_no_cloud(
    place: Path, folder: FolderScanner, clock: Clock, content: bytes
) -> None:
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    path.write_bytes(content)
    assert settled(folder) == Batch(deletes=set())
    clock.now = GONE_AFTER
    broken = settled(folder)
    clock.now = 100 * GONE_AFTER

    assert str(broken.upserts[str(path)]).startswith(f"{path}: is not UTF-8 at byte ")
    assert not broken.deletes
    assert settled(folder) == Batch(deletes=set())


def test_the_size_of_a_file_is_limited(
    place: Path, folder: FolderScanner, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "a.yaml"
    write(path, "a")
    monkeypatch.setattr(folder_scanner, "MAX_FILE", path.stat().st_size)
    assert set(folder.scan().upserts) == {f"{path}#a"}
    path.write_text(path.read_text() + " ")
    settled(folder)
    clock.now = GONE_AFTER
    batch = settled(folder)

    assert told(batch) == problem(path, f"longer than {folder_scanner.MAX_FILE} bytes")
    assert not batch.deletes


def test_a_transient_problem_of_a_file_is_not_reported(
    place: Path, folder: FolderScanner, clock: Clock
) -> None:
    """git, and whoever writes slowly, leave for a moment what cannot be read."""
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    for _ in range(5):
        path.write_bytes(b"")
        settled(folder)
        clock.now += GONE_AFTER - 0.1
        write(path, "a")
        assert settled(folder) == Batch(deletes=set())


def test_a_file_deleted_while_it_is_opened_counts_as_absent(
    place: Path, folder: FolderScanner, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = place / "a.yaml"
    write(path, "a")
    settled(folder)
    write(path, "b")
    opened = os.open

    def gone(file: Path, *arguments: Any, **options: Any) -> int:
        path.unlink(missing_ok=True)
        return opened(file, *arguments, **options)

    monkeypatch.setattr(os, "open", gone)

    assert settled(folder) == Batch(deletes=set())
    assert settled(folder) == Batch(deletes=set())


@pytest.mark.asyncio
async def test_a_folder_that_disappears_and_returns_keeps_its_clouds(place: Path) -> None:
    write(place / "a.yaml", "a")
    elsewhere = place.with_name("elsewhere")
    async with reading(open_registry(f"dir:{place}")) as reader:
        await asyncio.to_thread(place.rename, elsewhere)
        await reader.until(lambda: reader.batches[-1].stale is not None)
        assert reader.names == {"a"}
        await asyncio.to_thread(elsewhere.rename, place)
        await reader.until(lambda: reader.batches[-1].stale is None)

        assert reader.names == {"a"}
        assert reader.batches[1].stale == f"dir:{place} cannot be read: No such file or directory"


@pytest.mark.asyncio
async def test_a_replaced_folder_is_compared_before_it_is_current(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if its files have the same names, sizes and times as those of the former folder."""
    monkeypatch.setattr(folder_scanner, "GONE_AFTER", 0)
    write(place / "a.yaml", "a")
    write(place / "b.yaml", "b")
    elsewhere = place.with_name("elsewhere")
    async with reading(open_registry(f"dir:{place}")) as reader:
        await asyncio.to_thread(place.rename, elsewhere)
        await reader.until(lambda: reader.batches[-1].stale is not None)
        elsewhere.joinpath("a.yaml").write_text(written(a_cloud("a", port=7)))
        elsewhere.joinpath("b.yaml").unlink()
        await asyncio.to_thread(elsewhere.rename, place)
        await reader.until(lambda: reader.batches[-1].stale is None)
        assert reader.inventory.get("a") == a_cloud("a", port=7)
        await reader.until(lambda: reader.names == {"a"})


@pytest.mark.asyncio
async def test_the_reason_why_the_folder_is_unreadable_is_kept_up_to_date(place: Path) -> None:
    write(place / "a.yaml", "a")
    reasons = ("No such file or directory", "Not a directory")
    async with reading(open_registry(f"dir:{place}")) as reader:

        def reason() -> str:
            return str(reader.batches[-1].stale)

        await asyncio.to_thread(place.rename, place.with_name("elsewhere"))
        await reader.until(lambda: reason().endswith(reasons[0]))
        await asyncio.to_thread(place.touch)
        await reader.until(lambda: reason().endswith(reasons[1]))

        assert [batch.current_until for batch in reader.batches[1:]] == [
            reader.batches[1].current_until
        ] * 2


@pytest.mark.asyncio
async def test_a_missing_folder_is_unavailable_as_a_registry(place: Path) -> None:
    registry = open_registry(f"dir:{place}/nowhere")

    with pytest.raises(RegistryUnavailable, match="nowhere cannot be read: No such file"):
        async with reading(registry):
            pass
