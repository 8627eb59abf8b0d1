"""Tests with a real API server. `make test-kubernetes` builds it and runs them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from command_fixtures import scopeway, write
from harness.kubernetes import OURS, ApiServer
from harness.kubernetes_stack import KubernetesStack
from kustomizations import prepare

__all__ = ["scopeway", "write"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.kubernetes)


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that stays up, with our resources; tests share it."""
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started.apply_ours()


@pytest.fixture(scope="session")
def cluster(api_server: ApiServer) -> ApiServer:
    """The shared API server, with all that the manifests under `deploy/` refer to."""
    prepare(api_server)
    return api_server


@pytest.fixture
def make_api_server(tmp_path: Path) -> Iterator[Callable[..., ApiServer]]:
    """Make an API server that the test may end and start; with our resources."""
    made: list[ApiServer] = []

    def make(*flags: str, ours: bool = True) -> ApiServer:
        made.append(ApiServer(tmp_path / f"kubernetes-{len(made)}", *flags))
        made[-1].start()
        if ours:
            made[-1].apply_ours()
        return made[-1]

    yield make
    for each in made:
        each.kill()


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[KubernetesStack]:
    """An API server of the module's own, which its tests may end; for control planes and Envoys."""
    failed = request.session.testsfailed
    with KubernetesStack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
        if request.session.testsfailed > failed:
            print(stack.logs())


@pytest.fixture(scope="session")
def definitions_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """An API server that stays up, without our admission policies: it stores bad objects, too."""
    with ApiServer(tmp_path_factory.mktemp("kubernetes")) as started:
        yield started.apply_ours(OURS[:1])
