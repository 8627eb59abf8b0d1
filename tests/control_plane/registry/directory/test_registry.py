"""The watch of a folder reports changed documents only."""

from pathlib import Path

import pytest

from manifest_folders import write
from registry_model import a_cloud, reading, written
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


TYPE = """---
apiVersion: scopeway.io/v1alpha1
kind: ServiceType
metadata: {name: sensor}
spec: {aliases: [%s]}
"""


@pytest.mark.asyncio
async def test_watching_a_folder_of_kubernetes_reports_changed_and_deleted_service_types(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap is swapped by a link to another folder, as the kubelet does it."""
    monkeypatch.setattr(folder_scanner, "GONE_AFTER", 0)

    def swap(number: int, files: dict[str, str]) -> None:
        folder = place / f"..{number}"
        folder.mkdir()
        for name, text in files.items():
            (folder / name).write_text(text)
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"..data/{name}")
        (place / "..new").symlink_to(f"..{number}")
        (place / "..new").rename(place / "..data")

    swap(1, {"types.yaml": TYPE % "probe", "a.yaml": written(a_cloud("a"))})
    async with reading(open_registry(f"dir:{place}")) as reader:
        assert reader.inventory.service_types.official("probe") == "sensor"
        swap(2, {"types.yaml": TYPE % "gauge", "a.yaml": written(a_cloud("a"))})
        await reader.until(lambda: reader.inventory.service_types.official("gauge") == "sensor")
        assert reader.inventory.service_types.official("probe") is None
        swap(3, {"a.yaml": written(a_cloud("a"))})
        (place / "types.yaml").unlink()
        await reader.until(lambda: reader.inventory.service_type("sensor") is None)
        assert reader.names == {"a"}
