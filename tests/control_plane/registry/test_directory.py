import asyncio
import os
from pathlib import Path

import pytest
from registry_model import a_cloud, reading, written

from control_plane.clouds.manifest import InvalidCloud
from control_plane.registry import Batch, RegistryUnavailable, open_registry
from control_plane.registry.directory import Folder


def write(path: Path, *names: str, **labels: str) -> None:
    path.write_text("".join(written(a_cloud(name, **labels)) for name in names))


def settled(folder: Folder) -> Batch:
    """Look until a change has been noticed and read."""
    for _ in range(2):
        batch = folder.look()
    return batch


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "clouds"
    path.mkdir()
    return path


def test_the_first_look_tells_everything(place: Path) -> None:
    write(place / "a.yaml", "a")
    write(place / "b.yml", "b", "c")
    batch = Folder(place).look()

    assert batch.complete
    assert batch.upserts == {
        f"{place}/a.yaml#a": a_cloud("a"),
        f"{place}/b.yml#b": a_cloud("b"),
        f"{place}/b.yml#c": a_cloud("c"),
    }


def test_other_files_hidden_ones_and_folders_are_left_alone(place: Path) -> None:
    write(place / "a.json", "a")
    write(place / ".b.yaml", "b")
    write(place / "c.yaml~", "c")
    (place / "d.yaml").mkdir()
    (place / "e.yaml").symlink_to("nowhere")
    os.mkfifo(place / "f.yaml")

    assert Folder(place).look() == Batch(complete=True, deletes=set())


def test_a_change_is_read_when_the_file_has_come_to_rest(place: Path) -> None:
    write(place / "a.yaml", "a", "b")
    folder = Folder(place)
    folder.look()
    write(place / "a.yaml", "a", "c")

    assert folder.look() == Batch(deletes=set())
    assert folder.look() == Batch(
        upserts={f"{place}/a.yaml#c": a_cloud("c")}, deletes={f"{place}/a.yaml#b"}
    )
    assert folder.look() == Batch(deletes=set())


def test_a_file_that_never_rests_is_read_all_the_same(place: Path) -> None:
    folder = Folder(place)
    folder.look()
    seen = []
    for number in range(5):
        write(place / "a.yaml", *(f"cloud-{one}" for one in range(number + 1)))
        seen.append(len(folder.look().upserts))

    assert sum(seen) >= 4


def test_a_file_that_is_gone_takes_its_clouds_along(place: Path) -> None:
    write(place / "a.yaml", "a", "b")
    folder = Folder(place)
    folder.look()
    (place / "a.yaml").unlink()

    assert folder.look().deletes == {f"{place}/a.yaml#a", f"{place}/a.yaml#b"}


def test_a_document_that_cannot_be_told_takes_no_cloud_away(place: Path) -> None:
    path = place / "a.yaml"
    write(path, "a", "b")
    folder = Folder(place)
    folder.look()
    path.write_text(written(a_cloud("a")) + "---\nmetadata: {name: b\n")
    broken = settled(folder)
    path.write_text(written(a_cloud("a")))
    mended = settled(folder)

    (problem,) = broken.upserts.values()
    assert isinstance(problem, InvalidCloud)
    assert not broken.deletes
    assert mended.deletes == {f"{place}/a.yaml#b", *broken.upserts}
    assert not mended.upserts


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a: \x80"])
def test_a_file_that_cannot_be_read_takes_no_cloud_away(place: Path, content: bytes) -> None:
    path = place / "a.yaml"
    write(path, "a")
    folder = Folder(place)
    folder.look()
    path.write_bytes(content)
    broken = settled(folder)

    assert str(broken.upserts[str(path)]).startswith(f"{path}: is not UTF-8 at byte ")
    assert not broken.deletes


def test_a_document_that_moves_within_its_file_is_no_change(place: Path) -> None:
    write(place / "a.yaml", "a", "b")
    folder = Folder(place)
    folder.look()
    write(place / "a.yaml", "c", "b", "a")

    assert settled(folder) == Batch(upserts={f"{place}/a.yaml#c": a_cloud("c")}, deletes=set())


def test_a_config_map_that_is_swapped_is_seen(place: Path) -> None:
    """As the kubelet does it: the files are links through a folder that is a link itself."""
    for version, name in (("..1", "a"), ("..2", "b")):
        (place / version).mkdir()
        write(place / version / "clouds.yaml", name)
    (place / "..data").symlink_to("..1")
    (place / "clouds.yaml").symlink_to("..data/clouds.yaml")
    folder = Folder(place)
    first = folder.look()
    (place / "..new").symlink_to("..2")
    (place / "..new").replace(place / "..data")
    second = settled(folder)

    assert list(first.upserts) == [f"{place}/clouds.yaml#a"]
    assert list(second.upserts) == [f"{place}/clouds.yaml#b"]
    assert second.deletes == {f"{place}/clouds.yaml#a"}


@pytest.mark.asyncio
async def test_changes_of_the_folder_are_told(place: Path) -> None:
    write(place / "a.yaml", "a")
    async with reading(open_registry(f"dir:{place}")) as reader:
        write(place / "b.yaml", "b")
        await reader.until(lambda: reader.names == {"a", "b"})
        (place / "a.yaml").unlink()
        await reader.until(lambda: reader.names == {"b"})


@pytest.mark.asyncio
async def test_one_of_five_thousand_documents_is_told_alone(place: Path) -> None:
    names = [f"cloud-{number}" for number in range(5_000)]
    write(place / "all.yaml", *names)
    async with reading(open_registry(f"dir:{place}")) as reader:
        assert len(reader.inventory) == 5_000
        write(place / "all.yaml", *names, "cloud-new")
        await reader.until(lambda: "cloud-new" in reader.names)

        assert [len(batch.upserts) for batch in reader.batches] == [5_000, 1]


@pytest.mark.asyncio
async def test_a_folder_that_goes_away_and_comes_back_keeps_its_clouds(place: Path) -> None:
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
async def test_a_folder_that_is_not_there_is_unavailable(place: Path) -> None:
    registry = open_registry(f"dir:{place}/nowhere")

    with pytest.raises(RegistryUnavailable, match="nowhere cannot be read: No such file"):
        async with reading(registry):
            pass
