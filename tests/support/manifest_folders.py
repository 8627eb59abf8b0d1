"""What tests of folders of manifests share."""

from pathlib import Path

from registry_model import a_cloud, written
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.registry import Batch
from scopeway.control_plane.registry.directory.folder_scanner import FolderScanner


def write(path: Path, *names: str, **labels: str) -> None:
    path.write_text("".join(written(a_cloud(name, **labels)) for name in names))


def settled(folder: FolderScanner) -> Batch:
    """Look until a change has been noticed and read."""
    for _ in range(2):
        batch = folder.scan()
    return batch


class Clock:
    """Seconds, as the test says."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def problem(path: Path, reason: str) -> dict[str, str]:
    return {str(path): f"{path}: {reason}"}


def told(batch: Batch) -> dict[str, str]:
    """Return the problems of a batch, as they are told."""
    return {at: str(one) for at, one in batch.upserts.items() if isinstance(one, InvalidCloud)}
