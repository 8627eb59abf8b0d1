"""Three whole clouds, as `make demo-openstack` has them, for all tests of one run.

They start from the state that is kept in the checkout, which is made where there is none: within a
minute, or two. Tests run the steps of the demo; what they make besides has a name of its own.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.console import Screen
from demo.full import environment, steps
from demo.full.scenario import Scene
from demo.openstack import find_openstack
from harness.supervisor import Supervisor
from openstack_clouds import Clouds, print_logs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("whole_clouds")


@pytest.fixture(scope="session")
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """What the demo's steps run in; a missing part is an error, for the target installs all."""
    failed = request.session.testsfailed
    root = tmp_path_factory.mktemp("whole")
    (root / "logs").mkdir()
    screen = Screen(plain=True)
    with Supervisor(logs=root / "logs") as supervisor:
        made = environment.set_up(root, find_openstack(), supervisor, screen)
        yield Scene(made, screen)
    if request.session.testsfailed > failed:
        print_logs(root / "logs", *(site.folder for site in made.sites))


@pytest.fixture(scope="session")
def clouds(scene: Scene) -> Clouds:
    """The same clouds for single requests and commands."""
    made = scene.stage
    return Clouds(
        root=made.root,
        environment=made.openstack,
        supervisor=made.supervisor,
        plane=made.plane,
        sites={site.name: site for site in made.sites},
        envoys={site.name: made.services[f"envoy-{site.name}"] for site in made.sites},
    )


@pytest.fixture(scope="session")
def plain(scene: Scene) -> str:
    """The id of `plain1`, a server that has nothing to do with Scopeway."""
    return steps.boot_at_home(scene, "plain1")


@pytest.fixture(scope="session")
def cirros(scene: Scene) -> str:
    """The id of `cirros1`, made by the command that started the project."""
    return steps.headline(scene)


@pytest.fixture(scope="session")
def deb(scene: Scene) -> str:
    """The id of `deb1`, a server at cloud-999."""
    return steps.three_clouds(scene)
