from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from registry_model import Etcd


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
def make_cluster(tmp_path: Path) -> Iterator[Callable[[int], list[Etcd]]]:
    """Make an etcd of several members."""
    made: list[Etcd] = []

    def make(size: int) -> list[Etcd]:
        for number in range(size):
            folder = tmp_path / f"member-{number}"
            folder.mkdir()
            made.append(Etcd(folder))
        peers = [f"m{number}=http://127.0.0.1:{each.peer_port}" for number, each in enumerate(made)]
        with ThreadPoolExecutor() as pool:
            for number, each in enumerate(made):
                each.options = (f"--name=m{number}", f"--initial-cluster={','.join(peers)}")
                pool.submit(each.start)
        return made

    yield make
    for etcd in made:
        etcd.stop()
