"""Three whole clouds with their Envoys, brought up: what the steps and `--up` have in common.

Owns the order in which the parts start, and what is in the clouds: images, flavors.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from demo import environment as small
from demo.console import Screen
from demo.environment import Stage
from demo.errors import DemoError, PartMissing
from demo.full import clouds, database_cache, system_packages
from demo.full.files import FRONT_PORTS, ONLY, SERVICES
from demo.full.system_packages import Programs
from demo.openstack import log_in
from demo.openstack_files import ADMIN, clouds_yaml
from demo.site import Site, make_sites
from harness.http import request
from harness.supervisor import Supervisor

CLOUDS = ("cloud-1", "cloud-2", "cloud-999")
IMAGES = {"cloud-1": "alpine", "cloud-2": "debian", "cloud-999": "cirros"}
"""Cloud to the one image in its Glance."""
IMAGE_BYTES = 8192
KEPT = Path(".scopeway/openstack/saved")
"""The saved state, in the working folder."""
FLAVOR = {"name": "m1.small", "vcpus": 1, "ram": 512, "disk": 1}
"""In every cloud, with an id of its own."""
SHARED_FLAVOR = {**FLAVOR, "name": "m1.shared", "id": "m1-shared"}
"""In every cloud, with one id: a server in several clouds takes a flavor that all of them know."""
NETWORK = "shared"
"""In every cloud, for all projects; the only one, so servers get a port in it unasked."""


def set_up(root: Path, openstack: Path, supervisor: Supervisor, screen: Screen) -> Stage:
    """Starts everything below `root`, an existing folder, and returns when servers can boot.

    What is missing of the system's packages is installed before, where that may be done, and the
    saved state made where there is none.

    Args:
        openstack: The virtual environment with the services and the client.

    Raises:
        DemoError: a part is missing.
        ProcessFailed: a part failed.
    """
    _find_services(openstack)
    programs = _provide_programs(root, screen)
    kept = KEPT.absolute()
    if not database_cache.is_good(kept, openstack, CLOUDS):
        screen.say("the first time, databases are made and kept: a minute or two")
        database_cache.make(kept, CLOUDS, openstack, programs, screen)
    sites = make_sites(CLOUDS, root, services=SERVICES, only=ONLY, front_ports=FRONT_PORTS)
    (root / "clouds.yaml").write_text(clouds_yaml(sites))
    with screen.task("MariaDB on a copy of the kept databases; RabbitMQ and Keystones come up"):
        begun = clouds.begin(supervisor, programs, openstack, sites, kept, root)
    plane, envoys = small.start_scopeway(root, sites, supervisor, screen)
    with screen.task(
        "three times Keystone, Glance, Placement, Neutron and Nova, unmodified, from PyPI; a Cinder"
    ):
        services = clouds.start_services(supervisor, openstack, sites, begun)
    held = ", ".join(f"{image!r} at {cloud}" for cloud, image in IMAGES.items())
    with screen.task(f"images: {held}; flavor {FLAVOR['name']!r}; a nova-compute at each"):
        computes = clouds.start_computes(supervisor, openstack, sites, begun.server, during=_fill)
    return Stage(
        root=root,
        openstack=openstack,
        supervisor=supervisor,
        plane=plane,
        sites=sites,
        services=services | computes | {f"envoy-{name}": envoys[name] for name in envoys},
        state=partial(clouds.state, begun.server),
    )


def _find_services(openstack: Path) -> None:
    for program in ("nova-manage", "neutron-db-manage", "placement-manage", "cinder-manage"):
        if not (openstack / "bin" / program).exists():
            raise PartMissing(
                program=program,
                looked_in=[str(openstack / "bin")],
                cure="`make demo-openstack` in a checkout installs it",
            )


def _provide_programs(root: Path, screen: Screen) -> Programs:
    try:
        return system_packages.find_programs()
    except PartMissing:
        if not system_packages.can_install():
            raise
    with screen.task(f"installing {' and '.join(system_packages.PACKAGES)}, once"):
        system_packages.install(root / "logs" / "apt-get.log")
    return system_packages.find_programs()


def _fill(site: Site) -> None:
    """Makes flavor, network and image, as the cloud's administrator, through its front."""
    front = site.front_url
    token = log_in(f"{front}/identity/v3", user=ADMIN, project=ADMIN)
    headers = {"X-Auth-Token": token}
    for flavor in (FLAVOR, SHARED_FLAVOR):
        _call("POST", f"{front}/compute/v2.1/flavors", headers, {"flavor": flavor})
    network = {"network": {"name": NETWORK, "shared": True}}
    made = _call("POST", f"{front}/network/v2.0/networks", headers, network)
    subnet = {
        "network_id": made["network"]["id"],
        "ip_version": 4,
        "cidr": "10.0.0.0/16",
        "enable_dhcp": False,
    }
    _call("POST", f"{front}/network/v2.0/subnets", headers, {"subnet": subnet})
    image = {
        "name": IMAGES[site.name],
        "visibility": "public",
        "disk_format": "raw",
        "container_format": "bare",
    }
    made = _call("POST", f"{front}/image/v2/images", headers, image)
    answer = request(
        "PUT",
        f"{front}/image/v2/images/{made['id']}/file",
        headers=headers | {"Content-Type": "application/octet-stream"},
        data=b"\0" * IMAGE_BYTES,
    )
    if answer.status != 204:
        raise DemoError(f"upload to {site.name}: status {answer.status}")


def _call(method: str, url: str, headers: Mapping[str, str], document: object) -> dict[str, Any]:
    answer = request(method, url, headers=headers, document=document)
    if answer.status >= 400:
        text = answer.body.decode(errors="replace")
        raise DemoError(f"{method} {url}: status {answer.status}: {text}")
    made: dict[str, Any] = answer.json
    return made
