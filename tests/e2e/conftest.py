"""The fleets of the end-to-end tests: one for each module, and the Envoys' logs on failure."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from harness.certificates import Sites
from harness.fleet import Fleet
from harness.stack import Stack
from scopeway.control_plane.translator import http_connection_managers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("envoy")


@pytest.fixture(scope="module")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    """A control plane, and nothing else yet; as the mark `fleet` of the module wants it."""
    failed = request.session.testsfailed
    folder = tmp_path_factory.mktemp("fleet")
    mark = request.node.get_closest_marker("fleet")
    options = dict(mark.kwargs) if mark else {}
    if options.pop("certificates", False):
        options["sites"] = Sites(folder / "ca")
    with closing_within(options.pop("closing", None)):
        fleet = Fleet(folder, **options)
        try:
            yield fleet
        finally:
            fleet.close()
            if request.session.testsfailed > failed:
                print(fleet.logs())


@contextmanager
def closing_within(seconds: float | None) -> Iterator[None]:
    """Have refused connections closed so soon, for tests that wait for the end of many."""
    if seconds is None:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(http_connection_managers, "CLOSING", timedelta(seconds=seconds))
        forget()
        yield
    forget()


def forget() -> None:
    """Forget what sites share, so that it is made with the constants of now."""
    http_connection_managers.front.cache_clear()
    http_connection_managers.peer.cache_clear()


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """An etcd, and nothing else yet: for what needs the real processes."""
    failed = request.session.testsfailed
    with Stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack
    if request.session.testsfailed > failed:
        print(stack.logs())
