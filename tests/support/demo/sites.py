"""The Scopeway of the demo: etcd, the control plane, the sites' manifests and their Envoys.

Everything goes through the command line and the registry, as an operator would do it. It must not
know what runs behind the Envoys.
"""

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.errors import DemoError, PartMissing
from demo.site import REGION, Site
from harness.http import answers, request
from harness.ports import ADDRESS, free_ports
from harness.process import Process, clean_environment
from harness.supervisor import READY_SECONDS, Supervisor
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.registry import open_store

COMMAND_SECONDS = 60
LABELS = {"fleet": "demo"}
"""Of every cloud of the demo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlane:
    """A running etcd and control plane."""

    registry: str
    """URL for `--registry`."""
    xds: str
    """`host:port` for `scopeway bootstrap --xds`."""
    admin: str
    """URL of the admin address."""
    certificates: Path
    """Folder of the authority that signs the sites and the control plane."""


def manifest(site: Site, others: Iterable[str]) -> dict[str, Any]:
    """The document of a site: its addresses, and that it trusts these other clouds by name."""
    trusted = sorted(others)
    return {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": site.name, "labels": dict(LABELS)},
        "spec": {
            "front": {
                "address": ADDRESS,
                "port": site.front,
                "ports": dict(site.front_ports),
                "region": REGION,
            },
            "peer": {"address": ADDRESS, "port": site.peer},
            "services": _services(site),
            "accept": [
                {
                    "clouds": trusted,
                    "services": sorted(site.services),
                    "identity": {"clouds": [*trusted], "roles": ["member", "reader"]},
                }
            ],
        },
    }


def borrowed_manifest(name: str, lender: Site) -> dict[str, Any]:
    """A cloud without an Envoy of ours whose services are those of another site.

    It may be used by every cloud with the demo's labels.
    """
    labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
    return {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": name, "labels": dict(LABELS)},
        "spec": {
            "services": _services(lender),
            "accept": [{"clouds": [f"[{labels}]"], "services": ["identity", "image"]}],
        },
    }


def start_control_plane(supervisor: Supervisor, root: Path) -> ControlPlane:
    """Starts an empty etcd and a control plane that reads it; both are ready.

    Envoys have to show it a certificate, of an authority that is made here.
    """
    certificates = root / "certs"
    run_scopeway("ca", "init", "--dir", certificates)
    run_scopeway("ca", "issue", "--dir", certificates, "--control-plane")
    client, peer, xds, admin = free_ports(4)
    etcd = _start_etcd(supervisor, root / "etcd", client=client, peer=peer)
    registry = f"etcd://{ADDRESS}:{client}"
    plane = ControlPlane(
        registry=registry,
        xds=f"{ADDRESS}:{xds}",
        admin=f"http://{ADDRESS}:{admin}",
        certificates=certificates,
    )
    health = f"http://{ADDRESS}:{client}/health"
    etcd.wait_until(lambda: answers(health), "etcd answers", seconds=READY_SECONDS)
    process = supervisor.start(
        "control-plane",
        [
            *scopeway("serve", "--registry", registry, "--xds-listen", plane.xds),
            *("--admin-listen", f"{ADDRESS}:{admin}", "--state-dir", root / "state"),
            # the cloud that joins has no Envoy of its own
            *("--direct", ADDRESS),
            *_tls_options(certificates / "control-plane"),
        ],
    )
    process.wait_until(lambda: _is_ready(plane), "/readyz is 200", seconds=READY_SECONDS)
    return plane


def register(plane: ControlPlane, documents: Sequence[dict[str, Any]], file: Path) -> float:
    """Puts manifests into etcd, and into a file for whoever wants to read them.

    Returns:
        The moment at which the first was put, on the clock of `time.monotonic`.
    """
    file.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    clouds = [parse_manifest(document, str(file)) for document in documents]

    async def put_all() -> float:
        store = open_store(plane.registry)
        began = time.monotonic()
        for cloud in clouds:
            await store.put(cloud)
        await store.close()
        return began

    return asyncio.run(put_all())


def start_envoys(
    supervisor: Supervisor, plane: ControlPlane, sites: Sequence[Site]
) -> dict[str, Process]:
    """Starts the Envoy of each registered site.

    Returns:
        The processes by cloud name; all their fronts and peers listen.
    """
    program = find_program("envoy")
    run_scopeway("ca", "issue", "--dir", plane.certificates, *(site.name for site in sites))
    processes = {site.name: _start_envoy(supervisor, program, plane, site) for site in sites}
    for site in sites:
        ports = (site.front, site.peer, *site.front_ports.values())
        processes[site.name].wait_for_ports(*ports, seconds=READY_SECONDS)
    return processes


def start_collector(supervisor: Supervisor, site: Site) -> Process:
    """Starts what sends the requests of a site to several clouds; it is ready."""
    process = supervisor.start(
        f"collector-{site.name}",
        scopeway("collect", site.name, "--socket-dir", site.collector_folder),
    )
    socket = site.collector_folder / "collector.sock"
    process.wait_until(socket.exists, "its socket is there", seconds=READY_SECONDS)
    return process


def scopeway(*arguments: str | Path) -> list[str]:
    """The command line of `scopeway` in this very installation."""
    return [sys.executable, "-m", "scopeway.control_plane", *(str(part) for part in arguments)]


def run_scopeway(*arguments: str | Path) -> str:
    """Runs a `scopeway` command and returns what it printed.

    Raises:
        DemoError: it failed.
    """
    done = subprocess.run(
        scopeway(*arguments),
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        env=clean_environment(),
        check=False,
    )
    if done.returncode != 0:
        raise DemoError(f"scopeway {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def find_program(name: str) -> Path:
    """A program of the extra `scopeway[demo]`: beside this Python, else on the PATH.

    Raises:
        PartMissing: in neither.
    """
    beside = Path(sys.executable).parent / name
    if beside.exists():
        return beside
    if (found := shutil.which(name)) is not None:
        return Path(found)
    raise PartMissing(
        program=name,
        looked_in=[str(beside.parent), "PATH"],
        cure="`make demo` in a checkout installs it",
    )


def _services(site: Site) -> dict[str, Any]:
    return {
        service: {"endpoints": [{"address": ADDRESS, "port": port}]}
        for service, port in site.services.items()
    }


def _start_etcd(supervisor: Supervisor, folder: Path, *, client: int, peer: int) -> Process:
    client_url, peer_url = (f"http://{ADDRESS}:{port}" for port in (client, peer))
    return supervisor.start(
        "etcd",
        [
            *(find_program("etcd"), "--name", "demo", "--data-dir", folder),
            *("--listen-client-urls", client_url, "--advertise-client-urls", client_url),
            *("--listen-peer-urls", peer_url, "--initial-advertise-peer-urls", peer_url),
            *("--initial-cluster", f"demo={peer_url}"),
            *("--log-level", "warn", "--unsafe-no-fsync"),
        ],
    )


def _tls_options(folder: Path) -> list[str | Path]:
    """What `serve` and `bootstrap` are told of the certificate in a folder of `scopeway ca`."""
    return [
        *("--tls-cert", folder / "tls.crt", "--tls-key", folder / "tls.key"),
        *("--tls-ca", folder / "ca.crt"),
    ]


def _is_ready(plane: ControlPlane) -> bool:
    try:
        return request("GET", f"{plane.admin}/readyz").status == 200
    except OSError:
        return False


def _start_envoy(supervisor: Supervisor, program: Path, plane: ControlPlane, site: Site) -> Process:
    site.collector_folder.mkdir(mode=0o750, exist_ok=True)
    run_scopeway(
        *("bootstrap", site.name, "--xds", plane.xds, "--output", site.folder),
        *("--admin", f"{ADDRESS}:{site.envoy_admin}", "--access-log", site.access_log),
        *("--collector", site.collector_folder),
        *_tls_options(plane.certificates / "cloud" / site.name),
    )
    bootstrap = site.folder / "envoy.yaml"
    return supervisor.start(
        f"envoy-{site.name}",
        [
            *(program, "--config-path", bootstrap, "--log-level", "warning"),
            *("--concurrency", "1", "--disable-hot-restart"),
            *("--file-flush-interval-msec", "50"),  # the traces are read from the access log
        ],
    )
