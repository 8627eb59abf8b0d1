"""The command as people type it, and a real etcd for it to write to."""

from collections.abc import Iterator

import pytest

from command_fixtures import scopeway, write
from harness.stack import Etcd

__all__ = ["scopeway", "write"]


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    etcd = Etcd(tmp_path_factory.mktemp("etcd")).start()
    yield etcd
    etcd.kill()
