"""A control plane that restarts from saved clouds, in real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fleet import manifest
from harness.stack import ServeProcess
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.runtime.last_good_file import FILE


@pytest.fixture
def clouds(tmp_path: Path) -> Path:
    """A registry of one cloud and a cordon."""
    folder = tmp_path / "clouds"
    folder.mkdir()
    document = to_document(manifest("cloud-1", services={}))
    cordon = {**document, "kind": "Cordon", "spec": {"reason": "new disks"}}
    (folder / "a.yaml").write_text(f"{document}\n---\n{cordon}\n")
    return folder


@pytest.fixture
def serve(clouds: Path, tmp_path: Path) -> Iterator[ServeProcess]:
    serve = ServeProcess(f"dir:{clouds}", tmp_path, "--state-dir", tmp_path / "state")
    yield serve
    serve.kill()


def test_a_control_plane_killed_after_the_first_listing_restarts_from_saved_clouds(
    serve: ServeProcess, clouds: Path, tmp_path: Path
) -> None:
    serve.start().kill()
    clouds.rename(tmp_path / "elsewhere")
    found = serve.start().status()

    assert found["clouds"] == 1
    assert found["cordoned"] == {"cloud-1": "new disks"}
    assert found["stale"].startswith(f"dir:{clouds} cannot be read: No such file or directory; ")
    clouds.with_name("elsewhere").rename(clouds)
    serve.wait_until(lambda: serve.status()["stale"] is None, "the folder is read again")


def test_a_state_file_of_a_newer_version_is_kept_and_logged(
    serve: ServeProcess, clouds: Path, tmp_path: Path
) -> None:
    file = tmp_path / "state" / FILE
    file.parent.mkdir()
    file.write_text('{"format": 9, "registry": "dir:x", "sha256": ""}\n')
    clouds.rename(tmp_path / "elsewhere")
    serve.launch()
    assert serve.wait() != 0
    assert "was written by a newer version of Scopeway (format 9, and this version" in serve.log()
    clouds.with_name("elsewhere").rename(clouds)
    serve.start()
    (kept,) = file.parent.glob(f"{FILE}.unusable-*")

    assert '"format": 9' in kept.read_text()
    assert str(kept) in serve.log()
