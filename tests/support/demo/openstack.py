"""Real Keystones and Glances, one of each for a site, unmodified, on sqlite.

Owns how they are installed into a site's folder, started and given users and a catalog. It must
not know Envoy or the control plane: services answer on their own ports without either.
"""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from demo import openstack_files as files
from demo.errors import DemoError, PartMissing
from demo.site import PASSWORD, REGION, Site
from harness.http import request
from harness.ports import ADDRESS
from harness.process import Process, clean_environment
from harness.supervisor import READY_SECONDS, Supervisor

SERVE = Path(__file__).with_name("serve_wsgi.py")
STREAM = Path(__file__).with_name("serve_streaming.py")
STREAMED = ("image",)
"""The services whose server must not wait for the whole of a body."""
FOLDER = ".venv-openstack"
WSGI_MODULES = {
    "identity": "keystone.wsgi.api",
    "image": "glance.wsgi.api",
    "placement": "placement.wsgi.api",
    "compute": "nova.wsgi.osapi_compute",
    "network": "neutron.wsgi.api",
    "block-storage": "cinder.wsgi.api",
}
ROLES_OF_SERVICES = {"compute": ("service", "admin")}
"""Of the services' own users, where it isn't just `service`: Nova administers ports."""


def find_openstack(given: str | Path | None = None) -> Path:
    """The virtual environment that has Keystone, Glance and the client.

    Args:
        given: Its folder or its Python; None looks beside Scopeway's own environment and in the
            working folder.

    Raises:
        PartMissing: it isn't there, or lacks one of them.
    """
    if given is None:
        candidates = [Path(sys.prefix).parent / FOLDER, Path.cwd() / FOLDER]
    else:
        path = Path(given).absolute()
        candidates = [path if path.is_dir() else path.parent.parent]
    programs = ("keystone-manage", "glance-manage", "openstack", "python")
    missing = "keystone-manage"
    for folder in candidates:
        absent = [name for name in programs if not (folder / "bin" / name).exists()]
        if not absent:
            return folder
        missing = absent[0]
    raise PartMissing(
        program=missing,
        looked_in=[str(folder / "bin") for folder in candidates],
        cure="`make demo` in a checkout installs it; --openstack-python names another place",
    )


def install(supervisor: Supervisor, openstack: Path, sites: Sequence[Site]) -> None:
    """Writes each site's files and databases.

    The tables are the same everywhere, so they are made once and copied; users, projects, ids and
    keys are each cloud's own.
    """
    for site in sites:
        _write_files(site, openstack)
    first, *others = sites
    tables = [
        _keystone_manage(supervisor, openstack, first, "db_sync"),
        supervisor.start(
            f"glance-manage-{first.name}",
            [
                openstack / "bin" / "glance-manage",
                *("--config-file", first.folder / "glance-api.conf", "db_sync"),
            ],
        ),
    ]
    for process in tables:
        supervisor.finish(process)
    for site in others:
        for name in ("keystone.db", "glance.db"):
            shutil.copyfile(first.folder / name, site.folder / name)
    bootstraps = [_bootstrap(supervisor, openstack, site) for site in sites]
    for process in bootstraps:
        supervisor.finish(process)


def start_api(supervisor: Supervisor, openstack: Path, site: Site, service: str) -> Process:
    """Starts the API server of a service; it answers once its port is open.

    Args:
        service: Its type, one of `WSGI_MODULES`.
    """
    folder = str(site.folder)
    variables = {f"OS_{name.upper()}_CONFIG_DIR": folder for name in files.SERVICE_USERS.values()}
    variables["OS_NEUTRON_CONFIG_FILES"] = "neutron.conf"
    # -P: the folder of the servers must not come before the installed packages
    command: list[str | Path] = [
        *(openstack / "bin" / "python", "-P", STREAM if service in STREAMED else SERVE),
        *(WSGI_MODULES[service], ADDRESS, str(site.services[service])),
    ]
    if service == "block-storage":  # the one that no variable tells where its configuration is
        command += ["--config-file", site.folder / "cinder.conf"]
    return supervisor.start(
        f"{files.SERVICE_USERS[service]}-{site.name}",
        command,
        env=clean_environment(MALLOC_ARENA_MAX="2", **variables),
    )


def start_services(
    supervisor: Supervisor, openstack: Path, sites: Sequence[Site]
) -> dict[str, Process]:
    """Starts a Keystone and a Glance at each site and fills the Keystones.

    Returns:
        The processes by name, `keystone-cloud-1` and so on; all of them answer.
    """
    keystones = [start_api(supervisor, openstack, site, "identity") for site in sites]
    glances = [start_api(supervisor, openstack, site, "image") for site in sites]
    for site, process in zip(sites, keystones, strict=True):
        process.wait_for_ports(site.services["identity"], seconds=READY_SECONDS)
        populate(site)
    for site, process in zip(sites, glances, strict=True):
        process.wait_for_ports(site.services["image"], seconds=READY_SECONDS)
    return {process.name: process for process in [*keystones, *glances]}


def populate(site: Site) -> None:
    """Makes a site's users, projects and catalog in its running Keystone.

    Raises:
        DemoError: Keystone refused something.
    """
    keystone = Keystone(site)
    service = keystone.create("projects", name=files.SERVICE_PROJECT, domain_id="default")
    for kind, url in files.catalog(site).items():
        name = files.SERVICE_USERS[kind]
        if kind != "identity":
            user = keystone.create("users", name=name, password=PASSWORD, domain_id="default")
            for role in ROLES_OF_SERVICES.get(kind, ("service",)):
                keystone.grant(service, user, role)
        made = keystone.create("services", name=name, type=kind)
        for interface in ("public", "internal"):
            keystone.create(
                "endpoints", service_id=made, interface=interface, url=url, region=REGION
            )
    project = keystone.create("projects", name=files.PROJECT, domain_id="default")
    member = keystone.create("users", name=files.MEMBER, password=PASSWORD, domain_id="default")
    keystone.grant(project, member, "member")


class Keystone:
    """The few administrative requests that `populate` needs, sent to Keystone itself."""

    def __init__(self, site: Site) -> None:
        """Logs in as the administrator."""
        self._url = f"{site.keystone_url}/v3"
        self._headers = {"X-Auth-Token": log_in(self._url, user=files.ADMIN, project=files.ADMIN)}
        roles: Any = self._call("GET", "/roles")["roles"]
        self._roles = {str(role["name"]): str(role["id"]) for role in roles}

    def create(self, kind: str, **fields: str) -> str:
        """Makes one of `projects`, `users`, … and returns its id."""
        singular = kind.removesuffix("s")
        made: Any = self._call("POST", f"/{kind}", {singular: fields})[singular]
        return str(made["id"])

    def grant(self, project: str, user: str, role: str) -> None:
        """Gives a user a role, by name, in a project."""
        self._call("PUT", f"/projects/{project}/users/{user}/roles/{self._roles[role]}")

    def _call(self, method: str, path: str, document: object | None = None) -> dict[str, Any]:
        answer = request(method, self._url + path, headers=self._headers, document=document)
        if answer.status >= 400:
            text = answer.body.decode(errors="replace")
            raise DemoError(f"{method} {self._url}{path}: status {answer.status}: {text}")
        return answer.json if answer.body else {}


def log_in(url: str, *, user: str, project: str, scope: str | None = None) -> str:
    """Fetches a token for one of the demo's users.

    Args:
        url: The identity endpoint, ending in `/v3`.
        scope: Sent as `X-Scope` where it isn't None.

    Raises:
        DemoError: no token came back.
    """
    domain = {"name": "Default"}
    document = {
        "auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {"name": user, "domain": domain, "password": PASSWORD}},
            },
            "scope": {"project": {"name": project, "domain": domain}},
        }
    }
    headers = {} if scope is None else {"X-Scope": scope}
    answer = request("POST", f"{url}/auth/tokens", headers=headers, document=document)
    if answer.status != 201:
        text = answer.body.decode(errors="replace")
        raise DemoError(f"no token for {user!r} from {url}: status {answer.status}: {text}")
    return answer.headers["x-subject-token"]


def _write_files(site: Site, openstack: Path) -> None:
    (site.folder / "keystone.conf").write_text(files.keystone_conf(site))
    (site.folder / files.KEYSTONE_POLICY_FILE).write_text(files.KEYSTONE_POLICY)
    (site.folder / "glance-api.conf").write_text(files.glance_conf(site, openstack))
    for name in ("fernet-keys", "credential-keys"):
        keys = site.folder / name
        keys.mkdir(mode=0o700)
        for index, key in files.fernet_keys().items():
            (keys / index).touch(mode=0o600)
            (keys / index).write_text(key)
    for name in ("images", "staging", "tasks"):
        (site.folder / name).mkdir()


def _keystone_manage(
    supervisor: Supervisor, openstack: Path, site: Site, *arguments: str
) -> Process:
    command: list[str | Path] = [
        openstack / "bin" / "keystone-manage",
        *("--config-file", site.folder / "keystone.conf"),
        *arguments,
    ]
    return supervisor.start(f"keystone-manage-{site.name}", command)


def _bootstrap(supervisor: Supervisor, openstack: Path, site: Site) -> Process:
    return _keystone_manage(
        supervisor, openstack, site, "bootstrap", "--bootstrap-password", PASSWORD
    )
