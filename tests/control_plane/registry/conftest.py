from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manifest_folders import Clock
from registry_model import Etcd
from scopeway.control_plane.registry.directory.folder_scanner import FolderScanner


@pytest.fixture(scope="session")
def shared_etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """An etcd that stays up; each test uses a prefix of its own."""
    etcd = Etcd(tmp_path_factory.mktemp("etcd"))
    etcd.start()
    yield etcd
    etcd.stop()


@pytest.fixture
def make_etcd(tmp_path: Path) -> Iterator[Callable[..., Etcd]]:
    """Make an etcd that the test may stop, start and lock."""
    made: list[Etcd] = []

    def make(*options: str, scheme: str = "http") -> Etcd:
        folder = tmp_path / f"etcd-{len(made)}"
        folder.mkdir()
        made.append(Etcd(folder, *options, scheme=scheme))
        made[-1].start()
        return made[-1]

    yield make
    for etcd in made:
        etcd.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(place: Path, clock: Clock) -> FolderScanner:
    """The folder; time stands still."""
    return FolderScanner(place, clock=clock)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    path = tmp_path / "clouds"
    path.mkdir()
    return path
