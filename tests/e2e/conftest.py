"""The fleets of the end-to-end tests: one for each module, and the Envoys' logs on failure."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from harness.certificates import Sites
from harness.fleet import Fleet
from harness.stack import Stack


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
    fleet = Fleet(folder, **options)
    try:
        yield fleet
    finally:
        fleet.close()
        if request.session.testsfailed > failed:
            print(fleet.logs())


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
