"""The three clouds of the demo, brought up: what `make demo` and `make up` have in common.

Owns the order in which the parts start and the images they hold. It must not know what is shown
with them afterwards.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo import openstack, sites
from demo.console import Screen
from demo.openstack_files import clouds_yaml
from demo.site import Site, make_sites
from demo.sites import ControlPlane
from harness.process import Process, clean_environment
from harness.supervisor import Supervisor

CLOUDS = ("cloud-1", "cloud-2", "cloud-3")
IMAGES = {"cloud-2": "debian", "cloud-3": "cirros"}
"""Cloud to the one image in its Glance; cloud-1's stays empty."""
IMAGE_BYTES = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Everything that runs."""

    root: Path
    openstack: Path
    """The virtual environment with the services and the client."""
    supervisor: Supervisor
    plane: ControlPlane
    sites: tuple[Site, ...]
    services: dict[str, Process]
    """`glance-cloud-1` and so on; of whole clouds also `envoy-cloud-1`."""
    state: Callable[[str, str, str], str] | None = None
    """Of whole clouds: the state of a `server` or `volume` in a cloud, by id; "" where it isn't.

    It asks no API, so it leaves nothing in the traces.
    """

    @property
    def clouds_yaml(self) -> Path:
        """What the `openstack` command reads."""
        return self.root / "clouds.yaml"

    @property
    def client(self) -> Path:
        """The `openstack` command."""
        return self.openstack / "bin" / "openstack"

    def client_environment(self, **more: str) -> dict[str, str]:
        """The environment of an `openstack` command: the clouds, none of them chosen."""
        return clean_environment(OS_CLIENT_CONFIG_FILE=str(self.clouds_yaml)) | more


def set_up(root: Path, openstack_folder: Path, supervisor: Supervisor, screen: Screen) -> Stage:
    """Starts everything below `root`, an existing folder, and returns when all of it answers.

    Raises:
        DemoError: a part is missing.
        ProcessFailed: a part failed.
    """
    clouds = make_sites(CLOUDS, root)
    (root / "clouds.yaml").write_text(clouds_yaml(clouds))
    plane, _ = start_scopeway(root, clouds, supervisor, screen)
    with screen.task("databases for three Keystones and three Glances"):
        openstack.install(supervisor, openstack_folder, clouds)
    with screen.task("three Keystones and three Glances, unmodified, from PyPI"):
        services = openstack.start_services(supervisor, openstack_folder, clouds)
    stage = Stage(
        root=root,
        openstack=openstack_folder,
        supervisor=supervisor,
        plane=plane,
        sites=clouds,
        services=services,
    )
    held = ", ".join(f"{image!r} at {cloud}" for cloud, image in IMAGES.items())
    with screen.task(f"images: {held}, none at cloud-1"):
        _upload(stage)
    return stage


def start_scopeway(
    root: Path, clouds: Sequence[Site], supervisor: Supervisor, screen: Screen
) -> tuple[ControlPlane, dict[str, Process]]:
    """Starts a control plane that knows these clouds, which trust each other, and their Envoys.

    Returns:
        The Envoys' processes, by cloud name, besides.
    """
    with screen.task("etcd and the control plane"):
        plane = sites.start_control_plane(supervisor, root)
    with screen.task("three clouds in etcd, at each an Envoy and a collector, policy, mutual TLS"):
        names = [site.name for site in clouds]
        documents = [
            sites.manifest(site, [name for name in names if name != site.name]) for site in clouds
        ]
        sites.register(plane, documents, root / "manifests.yaml")
        envoys = sites.start_envoys(supervisor, plane, clouds)
        for site in clouds:
            sites.start_collector(supervisor, site)
    return plane, envoys


def _upload(stage: Stage) -> None:
    file = stage.root / "image.raw"
    file.write_bytes(b"\0" * IMAGE_BYTES)
    uploads = [
        stage.supervisor.start(
            f"upload-{cloud}",
            [
                *(stage.client, "--os-cloud", f"{cloud}-admin", "image", "create", image),
                *("--public", "--disk-format", "raw", "--container-format", "bare"),
                *("--file", file),
            ],
            env=stage.client_environment(),
        )
        for cloud, image in IMAGES.items()
    ]
    for upload in uploads:
        stage.supervisor.finish(upload)
