"""Tests with a real API server. `make test-kubernetes` builds it and runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.kubernetes import REPOSITORY, ApiServer

OURS = [REPOSITORY / "deploy/crds", REPOSITORY / "deploy/admission"]
"""What every test finds applied."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that stays up, with our resources; tests share it."""
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as started:
        apply_ours(started)
        yield started


@pytest.fixture
def make_api_server(tmp_path: Path) -> Iterator[Callable[..., ApiServer]]:
    """Make an API server that the test may end and start; with our resources."""
    made: list[ApiServer] = []

    def make(*flags: str, ours: bool = True) -> ApiServer:
        made.append(ApiServer(tmp_path / f"kubernetes-{len(made)}", *flags))
        made[-1].start()
        if ours:
            apply_ours(made[-1])
        return made[-1]

    yield make
    for each in made:
        each.kill()


def apply_ours(server: ApiServer) -> None:
    for folder in OURS:
        if folder.is_dir():
            server.kubectl("apply", "--server-side", "-k", folder)
    for crd in server.get("crds")["items"]:
        server.kubectl("wait", "--for=condition=Established", f"crd/{crd['metadata']['name']}")
