"""A sorted page of 1,000 clouds, without Envoy: python tests/bench/bench_fanout_sorted.py.

A collector in this process, and a process that answers as 1,000 clouds of 100 images of 0.8 kB, in
the order of their creation. For each limit: what the clouds sent, how often they were asked, and
the CPU time of the collector. `bench_fanout.py` has the same page with Envoy.
"""

import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import fixtures  # noqa: F401 - puts the harness on the path
import report
import uvloop

from harness.fake_clouds import CollectorClient
from harness.process import clean_environment
from scopeway.control_plane.collector.collector import Collector, serving
from scopeway.control_plane.collector.limits import Limits

CLOUDS = [f"edge-{number}" for number in range(1000)]
IMAGES = 100
LIMITS = (20, 100, 1000)
PAGES = 5
UPSTREAM = Path(__file__).with_name("fanout") / "sorted_upstream.py"


async def pages(client: CollectorClient, collector: Collector, limit: int) -> None:
    """Measure some pages, each the one behind the last."""
    location = f"/v2/images?limit={limit}"
    costs = []
    for _ in range(PAGES):
        before = collector.counters.asked, collector.counters.bytes, time.process_time()
        response = await client.ask(location, CLOUDS)
        document = response.json()
        assert document["scopeway:report"]["answered"] == len(CLOUDS)
        asked = collector.counters.asked - before[0]
        moved = collector.counters.bytes - before[1]
        cpu = time.process_time() - before[2]
        costs.append((len(document["images"]), asked, moved / 1e6, cpu * 1e3))
        location = document["next"]
    case = f"a sorted page of {limit} of {len(CLOUDS)} clouds of {IMAGES} images"
    units = {"page": "items", "asked": "sub-requests", "moved": "MB", "CPU with its client": "ms"}
    for at, (name, unit) in enumerate(units.items()):
        report.value(
            f"{case}: {name}", statistics.median(cost[at] for cost in costs), unit, n=PAGES
        )
    report.value(f"{case}: next link", len(location), "bytes")


async def measure(folder: Path) -> None:
    """Measure all limits."""
    users = frozenset([os.getuid()])
    async with serving(folder, limits=Limits(), users=users, drain=0) as collector:
        client = CollectorClient(folder / "collector.sock")
        await client.ask("/v2/images?limit=1000", CLOUDS)  # the images are made and sorted
        for limit in LIMITS:
            await pages(client, collector, limit)
        report.value("held by the collector at most", collector.budget.peak / 1e6, "MB")


def main() -> None:
    """Start the clouds, and measure."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(4096, most), most))
    with TemporaryDirectory(prefix="scopeway") as name:
        folder = Path(name)
        command = [sys.executable, str(UPSTREAM), str(folder / "collect.sock"), str(IMAGES)]
        upstream = subprocess.Popen(command, stdout=subprocess.PIPE, env=clean_environment())
        assert upstream.stdout
        try:
            upstream.stdout.readline()
            uvloop.run(measure(folder))
        finally:
            upstream.kill()
            upstream.wait()
            upstream.stdout.close()


if __name__ == "__main__":
    main()
