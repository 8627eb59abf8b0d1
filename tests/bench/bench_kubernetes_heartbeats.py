"""The cost of heartbeats: python tests/bench/bench_kubernetes_heartbeats.py.

10,000 Leases in one namespace, as 10,000 sites would renew them, beside one watch of all of them,
as a control plane would read them. Real kube-apiserver and etcd. ADR 26 has the figures.
"""

import asyncio
import os
import tempfile
import time
from pathlib import Path

import report

from harness.kubernetes import ApiServer
from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.paths import leases
from scopeway.control_plane.kubernetes_api.url import parse_kubernetes_url
from scopeway.control_plane.status_writer.leader import micro_time

SITES = 10_000
RENEWALS = 10_000
WORKERS = 16
PATH = leases("default")


def document(number: int) -> dict[str, object]:
    """Return the Lease of a site."""
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": f"cloud-{number}"},
        "spec": {"holderIdentity": f"cloud-{number}", "leaseDurationSeconds": 40},
    }


async def measure(api: ApiServer) -> None:
    """Print the cost of a renewal."""
    async with ApiClient(parse_kubernetes_url(api.registry)) as client:
        await spread(SITES, lambda number: client.create(PATH, document(number)))
        version = (await client.get(PATH, {"limit": "1"}))["metadata"]["resourceVersion"]
        seen = [0]
        watching = asyncio.create_task(watch(client, version, seen))

        async def renew(number: int) -> None:
            spec = {"renewTime": micro_time(time.time())}
            await client.merge_patch(f"{PATH}/cloud-{number % SITES}", {"spec": spec})

        cpu, begin, size = cpu_of(api), time.perf_counter(), size_of(api)
        own = time.process_time()
        await spread(RENEWALS, renew)
        took = time.perf_counter() - begin
        used = {name: after - cpu[name] for name, after in cpu_of(api).items()}
        watching.cancel()
        report.value("renewals of Leases a second, one client", RENEWALS / took, "1/s", n=RENEWALS)
        for name, seconds in used.items():
            report.value(
                f"CPU of {name} for a renewal", seconds / RENEWALS * 1000, "ms", n=RENEWALS
            )
        own = (time.process_time() - own) / RENEWALS * 1000
        report.value("CPU of this client for a renewal and its event", own, "ms", n=RENEWALS)
        report.value("growth of etcd for a renewal", (size_of(api) - size) / RENEWALS / 1024, "KiB")
        report.value("events that one watch saw", seen[0], "", n=RENEWALS)


async def spread(count: int, work: object) -> None:
    """Do numbered work, some at once."""
    numbers = iter(range(count))

    async def worker() -> None:
        for number in numbers:
            await work(number)  # type: ignore[operator]

    async with asyncio.TaskGroup() as group:
        for _ in range(WORKERS):
            group.create_task(worker())


async def watch(client: ApiClient, version: str, seen: list[int]) -> None:
    """Count the events of all Leases."""
    try:
        async for events in client.watch(PATH, version):
            seen[0] += len(events)
    except ApiError as error:
        print(error)


def cpu_of(api: ApiServer) -> dict[str, float]:
    """Return the seconds of CPU that each process has used."""
    return {each.name: _cpu(each.pid) for each in (api.server, api.etcd)}


def size_of(api: ApiServer) -> int:
    """Return the bytes of etcd's database."""
    return (api.data / "member/snap/db").stat().st_size


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, ApiServer(Path(folder)) as started:
        asyncio.run(measure(started))
