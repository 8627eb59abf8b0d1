"""The watch of a folder reports changed documents only."""

from pathlib import Path

import pytest

from manifest_folders import write
from registry_model import reading
from scopeway.control_plane.registry import open_registry
from scopeway.control_plane.registry.directory import folder_scanner


@pytest.mark.asyncio
async def test_watching_a_folder_reports_new_and_deleted_clouds(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_scanner, "GONE_AFTER", 0)
    write(place / "a.yaml", "a")
    async with reading(open_registry(f"dir:{place}")) as reader:
        write(place / "b.yaml", "b")
        await reader.until(lambda: reader.names == {"a", "b"})
        (place / "a.yaml").unlink()
        await reader.until(lambda: reader.names == {"b"})

        assert [set(batch.upserts) for batch in reader.batches if batch.upserts] == [
            {f"{place}/a.yaml#a"},
            {f"{place}/b.yaml#b"},
        ]
        assert reader.batches[-1].deletes == {f"{place}/a.yaml#a"}


@pytest.mark.asyncio
async def test_watching_a_folder_reports_only_the_new_one_of_5000_documents(place: Path) -> None:
    names = [f"cloud-{number}" for number in range(5_000)]
    write(place / "all.yaml", *names)
    async with reading(open_registry(f"dir:{place}")) as reader:
        assert len(reader.inventory) == 5_000
        write(place / "all.yaml", *names, "cloud-new")
        await reader.until(lambda: "cloud-new" in reader.names)

        assert [len(batch.upserts) for batch in reader.batches] == [5_000, 1]
