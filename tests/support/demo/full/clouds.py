"""Starts the services of three whole clouds on a copy of the saved state.

Owns the order: what needs the database only as soon as that is there, everything else once RabbitMQ
and the sites' Envoys are, nova-compute when everything that it asks answers. It must not know Envoy
or the control plane.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from demo import openstack
from demo.full import database_cache, mariadb, rabbitmq
from demo.full.files import database_names, write_files
from demo.full.mariadb import MariaDb
from demo.full.rabbitmq import RabbitMq
from demo.full.system_packages import Programs
from demo.site import Site
from harness.ports import free_ports
from harness.process import Process, clean_environment
from harness.supervisor import READY_SECONDS, Supervisor

STATES = {
    "server": ("nova", "instances", "vm_state", "uuid"),
    "volume": ("cinder", "volumes", "status", "id"),
}
"""Kind to database, table, and the columns of state and id."""
SECONDS = 240.0
"""In which a service must be ready; three clouds start at once, on few processors."""
FIRST = ("identity", "image", "placement")
"""The APIs that need nothing but the database to start."""
THEN = ("network", "compute", "block-storage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """What runs, or comes up, before there are Envoys."""

    server: MariaDb
    broker: RabbitMq
    broker_process: Process
    apis: tuple[tuple[Process, int], ...]
    """Those of `FIRST`, in its order, with their ports; they need not answer yet."""


def begin(
    supervisor: Supervisor,
    programs: Programs,
    folder: Path,
    sites: Sequence[Site],
    kept: Path,
    root: Path,
) -> Begun:
    """Starts MariaDB on a copy of what is in `kept`, which answers, and all that needs no more.

    Args:
        folder: The virtual environment with the services.
    """
    names = [site.name for site in sites]
    password = database_cache.new_password()
    database_port, broker_port = free_ports(2)
    broker = RabbitMq(
        programs=programs, folder=root / "rabbitmq", port=broker_port, password=password
    )
    broker_process = rabbitmq.start(supervisor, broker, names)
    server = MariaDb(
        programs=programs, folder=root / database_cache.DATA, port=database_port, password=password
    )
    database_cache.restore(kept, sites, server.folder)
    users = {name: database_names(name).values() for name in names}
    mariadb.start(supervisor, server, users, root / "accounts.sql")
    for site in sites:
        write_files(
            site, database_cache.backing(server, site.name, broker=broker.url(site.name)), folder
        )
        _pretend_agent(server, site)
    return Begun(
        server=server,
        broker=broker,
        broker_process=broker_process,
        apis=tuple(_start_apis(supervisor, folder, sites, FIRST)),
    )


def start_services(
    supervisor: Supervisor, folder: Path, sites: Sequence[Site], begun: Begun
) -> dict[str, Process]:
    """Starts everything that hasn't begun but nova-compute, and fills the Keystones.

    Returns:
        The processes by name, `nova-cloud-1` and so on; all APIs answer.
    """
    begun.broker_process.wait_for_ports(begun.broker.port, seconds=READY_SECONDS)
    apis = [*begun.apis, *_start_apis(supervisor, folder, sites, THEN)]
    managers = [
        start_manager(supervisor, folder, site, name)
        for site in sites
        for name in ("nova-conductor", "nova-scheduler", *_volume_managers(site))
    ]
    for process, port in apis[: len(sites)]:
        process.wait_for_ports(port, seconds=SECONDS)
    _for_each(sites, openstack.populate)
    for process, port in apis[len(sites) :]:
        process.wait_for_ports(port, seconds=SECONDS)
    return {process.name: process for process in (*managers, *(process for process, _ in apis))}


def start_computes(
    supervisor: Supervisor,
    folder: Path,
    sites: Sequence[Site],
    server: MariaDb,
    *,
    during: Callable[[Site], None],
) -> dict[str, Process]:
    """Starts a nova-compute at each site; Nova's scheduler can choose it when this returns.

    Args:
        during: Done for each site meanwhile, at once, in threads.
    """
    processes = {
        site.name: start_manager(supervisor, folder, site, "nova-compute") for site in sites
    }
    _for_each(sites, during)
    for site in sites:
        ready = partial(_can_boot, server, site)
        what = "Nova can choose its host"
        processes[site.name].wait_until(ready, what, seconds=SECONDS)
    return {process.name: process for process in processes.values()}


def start_manager(supervisor: Supervisor, folder: Path, site: Site, name: str) -> Process:
    """Starts `nova-compute` or another process that is asked through the broker."""
    command: list[str | Path] = [folder / "bin" / name]
    for file in dict.fromkeys((f"{name.partition('-')[0]}.conf", f"{name}.conf")):
        if (site.folder / file).exists():
            command += ["--config-file", site.folder / file]
    env = clean_environment(MALLOC_ARENA_MAX="2")
    return supervisor.start(f"{name}-{site.name}", command, env=env)


def _start_apis(
    supervisor: Supervisor, folder: Path, sites: Sequence[Site], services: Sequence[str]
) -> list[tuple[Process, int]]:
    return [
        (openstack.start_api(supervisor, folder, site, service), site.services[service])
        for service in services
        for site in sites
        if service in site.services
    ]


def _volume_managers(site: Site) -> tuple[str, ...]:
    return ("cinder-scheduler", "cinder-volume") if "block-storage" in site.services else ()


def state(server: MariaDb, kind: str, cloud: str, wanted: str) -> str:
    """The state of something in a cloud, `active` and so on; "" where the cloud has no such one.

    Args:
        kind: `server` or `volume`.
        wanted: Its id.
    """
    database, table, column, key = STATES[kind]
    return mariadb.sql(
        server,
        f"SELECT {column} FROM `{database_names(cloud)[database]}`.{table}"
        f" WHERE {key} = '{UUID(wanted)}'",
    ).strip()


def _pretend_agent(server: MariaDb, site: Site) -> None:
    """Makes Neutron believe in an agent on the cloud's one host, so that it binds ports there.

    Nothing would be left to do for a real one: the servers of Nova's fake driver have no network.
    """
    database = database_names(site.name)["neutron"]
    configurations = '{"bridge_mappings": {}, "tunnel_types": []}'
    mariadb.sql(
        server,
        f"INSERT INTO `{database}`.agents (id, agent_type, `binary`, topic, host, admin_state_up,"
        " created_at, started_at, heartbeat_timestamp, configurations, `load`) VALUES ("
        f"uuid(), 'Open vSwitch agent', 'none', 'N/A', 'compute-{site.name}', 1,"
        f" utc_timestamp(), utc_timestamp(), utc_timestamp(), '{configurations}', 0)",
    )


def _can_boot(server: MariaDb, site: Site) -> bool:
    """Whether the cloud's one host is known to its cell and has resources in Placement."""
    names = database_names(site.name)
    rows = mariadb.sql(
        server,
        f"SELECT (SELECT count(*) FROM `{names['nova_api']}`.host_mappings),"
        f" (SELECT count(*) FROM `{names['placement']}`.inventories)",
    )
    hosts, inventories = (int(value) for value in rows.split())
    return hosts > 0 and inventories > 0


def _for_each(sites: Sequence[Site], what: Callable[[Site], None]) -> None:
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(what, site) for site in sites]:
            done.result()
