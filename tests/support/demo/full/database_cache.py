"""The databases of three whole clouds, made once and kept: a run begins with a copy of them.

They hold tables, and of each Keystone the administrator and the roles; nothing of a run, no
address and no other user. What is kept belongs to the versions of the services that made it, and
is made again when they change.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from demo.console import Screen
from demo.full import mariadb
from demo.full.files import (
    DATABASES,
    FRONT_PORTS,
    Backing,
    database_names,
    write_files,
)
from demo.full.mariadb import MariaDb
from demo.full.system_packages import Programs
from demo.openstack_files import fernet_keys
from demo.site import PASSWORD, Site, make_sites
from harness.ports import free_ports
from harness.process import Process, ProcessFailed, clean_environment
from harness.supervisor import Supervisor

FORMAT = 2
"""To be counted up when what is saved changes."""
STAMP = "made-by"
DATA = "mariadb"
KEYS = ("fernet-keys", "credential-keys")
NO_BROKER = "rabbit://nobody:none@127.0.0.1:1/none"
_SERVICES = ("keystone", "glance", "neutron", "nova", "openstack_placement", "cinder")
_SECONDS = 600.0


def stamp(openstack: Path, clouds: Sequence[str]) -> str:
    """What a saved state must have been made by and for to be of use."""
    versions = sorted(
        folder.name.removesuffix(".dist-info")
        for service in _SERVICES
        for folder in openstack.glob(f"lib/python3*/site-packages/{service}-*.dist-info")
    )
    return f"{FORMAT} {' '.join(versions)} {' '.join(clouds)}\n"


def is_good(folder: Path, openstack: Path, clouds: Sequence[str]) -> bool:
    """Whether `folder` has a saved state for these."""
    try:
        return (folder / STAMP).read_text() == stamp(openstack, clouds)
    except FileNotFoundError:
        return False


def restore(folder: Path, sites: Iterable[Site], data: Path) -> None:
    """Copies the saved databases to `data`, which doesn't exist yet, and each site's keys."""
    shutil.copytree(folder / DATA, data)
    for site in sites:
        for name in KEYS:
            shutil.copytree(folder / site.name / name, site.folder / name)


def make(
    folder: Path, clouds: Sequence[str], openstack: Path, programs: Programs, screen: Screen
) -> None:
    """Makes the saved state in `folder`; whatever was there is replaced when the new one is whole.

    Raises:
        ProcessFailed: a step of it failed; its log is kept beside the folder, in `logs`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix="new-", dir=folder.parent))
    logs = folder.parent / "logs"
    logs.mkdir(exist_ok=True)
    try:
        sites = make_sites(clouds, work, front_ports=FRONT_PORTS)
        with Supervisor(logs=logs) as supervisor:
            _fill(supervisor, sites, work, openstack, programs, screen)
        for site in sites:
            for entry in site.folder.iterdir():
                if entry.name not in KEYS:
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        (work / "init.sql").unlink()
        (work / STAMP).write_text(stamp(openstack, clouds))
        shutil.rmtree(folder, ignore_errors=True)
        work.rename(folder)
        shutil.rmtree(logs)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _fill(
    supervisor: Supervisor,
    sites: Sequence[Site],
    work: Path,
    openstack: Path,
    programs: Programs,
    screen: Screen,
) -> None:
    (port,) = free_ports(1)
    server = MariaDb(programs=programs, folder=work / DATA, port=port, password=new_password())
    with screen.task("an empty MariaDB"):
        mariadb.create(supervisor, server)
        process = mariadb.start(supervisor, server, {}, work / "init.sql")
        for site in sites:
            for name in database_names(site.name).values():
                mariadb.sql(server, f"CREATE DATABASE `{name}`")
            write_files(site, backing(server, site.name, user=mariadb.ROOT), openstack)
            _write_keys(site)
    first, *others = sites
    with screen.task("tables of Keystone, Glance, Placement, Neutron and Nova"):
        _sync(supervisor, openstack, first)
    with screen.task("the same tables for the other clouds"):
        names = database_names(first.name)
        mariadb.sql(server, _into(names["nova_cell0"], mariadb.dump(server, names["nova"])))
        for database in DATABASES:
            tables = mariadb.dump(server, names[database])
            for site in others:
                mariadb.sql(server, _into(database_names(site.name)[database], tables))
    with screen.task("each Keystone's administrator, each Nova's cells"):
        _bootstrap(supervisor, openstack, sites)
    process.terminate()
    supervisor.finish(process, seconds=_SECONDS)


def backing(
    server: MariaDb, cloud: str, *, user: str | None = None, broker: str = NO_BROKER
) -> Backing:
    """A cloud's databases.

    Args:
        user: Of the database server; None is the cloud's own.
        broker: Left out where no service of the cloud is going to run.
    """
    databases = {
        name: server.url(user or cloud, database)
        for name, database in database_names(cloud).items()
    }
    return Backing(databases=databases, broker=broker)


def new_password() -> str:
    """For the databases and the broker of one run."""
    return os.urandom(16).hex()


def _into(database: str, statements: str) -> str:
    return f"USE `{database}`;\n{statements}"


def _write_keys(site: Site) -> None:
    for name in KEYS:
        keys = site.folder / name
        keys.mkdir(mode=0o700)
        for index, key in fernet_keys().items():
            (keys / index).touch(mode=0o600)
            (keys / index).write_text(key)


def _sync(supervisor: Supervisor, openstack: Path, site: Site) -> None:
    commands = {
        "keystone": ["db_sync"],
        "glance": ["db_sync"],
        "placement": ["db", "sync"],
        "nova": ["db", "sync", "--local_cell"],
        "nova-api": ["api_db", "sync"],
        "neutron": ["upgrade", "heads"],
        "cinder": ["db", "sync"],
    }
    _all(
        supervisor,
        [
            _manage(supervisor, openstack, site, name.partition("-")[0], *arguments)
            for name, arguments in commands.items()
        ],
    )


def _bootstrap(supervisor: Supervisor, openstack: Path, sites: Sequence[Site]) -> None:
    """What differs between clouds. Cells are told by templates, so that every address may change.

    https://docs.openstack.org/nova/latest/admin/cells.html
    """
    login = "{scheme}://{username}:{password}@{hostname}:{port}"
    for site in sites:
        cell0 = f"{login}/{database_names(site.name)['nova_cell0']}?{{query}}"
        _all(
            supervisor,
            [
                _manage(
                    *(supervisor, openstack, site, "keystone", "bootstrap"),
                    *("--bootstrap-password", PASSWORD),
                ),
                _manage(
                    *(supervisor, openstack, site, "nova", "cell_v2", "map_cell0"),
                    *("--database_connection", cell0),
                ),
            ],
        )
    _all(
        supervisor,
        [
            _manage(
                *(supervisor, openstack, site, "nova", "cell_v2", "create_cell"),
                *("--name", "cell1", "--transport-url", f"{login}/{{path}}"),
                *("--database_connection", f"{login}/{{path}}?{{query}}"),
            )
            for site in sites
        ],
    )


def _manage(
    supervisor: Supervisor, openstack: Path, site: Site, service: str, *arguments: str
) -> Process:
    name = "glance-api" if service == "glance" else service
    program = "neutron-db-manage" if service == "neutron" else f"{service}-manage"
    command: list[str | Path] = [
        openstack / "bin" / program,
        *("--config-file", str(site.folder / f"{name}.conf"), *arguments),
    ]
    label = f"{service}-manage-{site.name}-{'-'.join(arguments[:2])}"
    return supervisor.start(label, command, env=clean_environment())


def _all(supervisor: Supervisor, processes: Sequence[Process]) -> None:
    failed: ProcessFailed | None = None
    for process in processes:
        try:
            supervisor.finish(process, seconds=_SECONDS)
        except ProcessFailed as error:
            failed = failed or error
    if failed is not None:
        raise failed
