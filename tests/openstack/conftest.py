"""Two real clouds, Keystone and Glance each, behind real Envoys and a control plane on etcd.

They take some seconds to start, so all these tests share them, in one worker (tests/conftest.py).
What a test makes in them gets a name of its own and stays.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo import openstack, sites
from demo.errors import PartMissing
from demo.openstack_files import clouds_yaml
from demo.site import make_sites
from harness.supervisor import Supervisor
from openstack_clouds import CLOUDS, IMAGES, OTHER, SECURE, Clouds, new_image, print_logs

VARIABLE = "SCOPEWAY_OPENSTACK_VENV"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("openstack")


@pytest.fixture(scope="session")
def clouds(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Clouds]:
    try:
        environment = openstack.find_openstack(os.environ.get(VARIABLE))
    except PartMissing:
        pytest.skip("needs Keystone and Glance: make test installs it")
    failed = request.session.testsfailed
    root = tmp_path_factory.mktemp("openstack")
    logs = root / "logs"
    logs.mkdir()
    with Supervisor(logs=logs) as supervisor:
        yield _start(root, environment, supervisor)
    if request.session.testsfailed > failed:
        print_logs(logs)


def _start(root: Path, environment: Path, supervisor: Supervisor) -> Clouds:
    made = make_sites(CLOUDS, root)
    (root / "clouds.yaml").write_text(clouds_yaml(made))
    plane = sites.start_control_plane(supervisor, root)
    documents = [
        sites.manifest(site, [name for name in (*CLOUDS, SECURE) if name != site.name])
        for site in made
    ]
    sites.register(plane, documents, root / "manifests.yaml")
    envoys = sites.start_envoys(supervisor, plane, made)
    sites.start_collector(supervisor, made[0])
    openstack.install(supervisor, environment, made)
    openstack.start_services(supervisor, environment, made)
    return Clouds(
        root=root,
        environment=environment,
        supervisor=supervisor,
        plane=plane,
        sites={site.name: site for site in made},
        envoys=envoys,
    )


@pytest.fixture(scope="session")
def debian(clouds: Clouds) -> str:
    """The id of a public image of the other cloud."""
    document = new_image("debian", visibility="public")
    answer = clouds.ask("POST", IMAGES, clouds.admin(OTHER), cloud=OTHER, document=document)
    assert answer.status == 201, answer
    return str(answer.json["id"])
