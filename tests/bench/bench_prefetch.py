"""Prefetched beside on-demand targets: python tests/bench/bench_prefetch.py.

Real etcd, `scopeway serve` and Envoy. The clouds are the same in all runs; what differs is how many
of them `--prefetch` selects. For each: the first and second request to targets of a kept-alive
connection, the Envoy's memory before and after them, and how long it takes from its start until it
listens. Besides, in this process and without gRPC, what a change of a cloud costs the source that
1,000 sites are attached to: of one that is not prefetched, one that is, and one that comes into
the set.
"""

import statistics
import time

import report
from fixtures import ACCEPT_ALL, LABELS, Stack, at, clouds, manifest, stack

from harness.http import Connection
from harness.process import until
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.planner.prefetch import parse_prefetch
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.source import Node

CLOUDS = 500
FETCHED = (0, 100, 500)
USED = 100
WARM_UP = 5
STARTS = 5
SITES = 1000
CHANGES = 20


def measure(stack: Stack, fetched: int) -> None:
    """Print the figures with so many prefetched clouds."""
    port = stack.echo("image").port
    stack.put(*clouds(CLOUDS, port))
    chosen = "|".join(f"edge-{number}" for number in range(fetched))
    # at most 32 clouds are in one expression
    options = [word for part in _parts(chosen) for word in ("--prefetch", part)]
    stack.serve(*options, "--prefetch-limit", CLOUDS)
    site = stack.site("cloud-1", labels=LABELS, services={"image": {"endpoints": [at(port)]}})
    case = f"{fetched} clouds prefetched" if fetched else "on demand"
    starts = [start(stack, site, fetched) for _ in range(STARTS)]
    report.value(f"{case}: start until it listens", statistics.median(starts), "ms", n=STARTS)
    envoy = stack.envoys["cloud-1"]
    report.value(f"{case}: memory of the Envoy", envoy.memory() / 2**20, "MiB")
    first, second = use(site)
    report.samples(f"{case}: first use", first, "ms")
    report.samples(f"{case}: second use", second, "ms")
    report.value(f"{case}: memory after {USED} uses", envoy.memory() / 2**20, "MiB")


def start(stack: Stack, site: Cloud, fetched: int) -> float:
    """Start the Envoy anew; return the milliseconds until it has all clusters and listens."""
    assert site.front is not None
    stack.envoys["cloud-1"].stop()
    begin = time.perf_counter()
    envoy = stack.start_envoy("cloud-1")
    until(lambda: _listens(site), "it listens")
    took = (time.perf_counter() - begin) * 1000
    has = envoy.stats("cluster_manager.active_clusters")["cluster_manager.active_clusters"]
    assert has >= fetched, f"{has} clusters"
    return took


def use(site: Cloud) -> tuple[list[float], list[float]]:
    """Return the milliseconds of first and second requests."""
    assert site.front is not None
    first, second = [], []
    with Connection(site.front.port) as connection:

        def ask(number: int) -> float:
            begin = time.perf_counter_ns()
            scope = f"{{image:edge-{number}}}"
            response = connection.send("/image/v2/images", [("X-Scope", scope)])
            took = (time.perf_counter_ns() - begin) / 1e6
            assert response.status == 200, response.body
            return took

        for number in range(USED):
            samples = ask(number), ask(number)
            if number >= WARM_UP:
                first.append(samples[0])
                second.append(samples[1])
    return first, second


def measure_changes(fetched: int) -> None:
    """Print what changes cost a source with so many prefetched clouds."""
    known = {each.name: each for each in clouds(SITES, 9292)}
    core = [manifest_of(f"core-{number}", 9292, tier="core") for number in range(fetched)]
    known |= {each.name: each for each in core}
    inventory = Inventory().apply(known)
    chosen = PrefetchSet([parse_prefetch("[tier=core]")], inventory, limit=fetched + CHANGES)
    source = ScopewaySource(
        inventory=inventory,
        notifier=ChangeNotifier(),
        make_site=lambda *_: (),
        settings=PlanSettings(),
        prefetch=chosen,
    )
    for number in range(SITES):
        metadata = {"scopeway.protocol": "1"}
        source.attach(Node(id=f"edge-{number}/0", cluster=f"edge-{number}", metadata=metadata))
    for what, name, tier in (
        ("a cloud that is not prefetched", "plain", ""),
        ("a prefetched cloud", "core-0", "core"),
        ("a cloud that comes into the set", "more", "core"),
    ):
        took = []
        for number in range(CHANGES):
            changed = f"{name}-{number}" if name == "more" else name
            cloud = manifest_of(changed, 10_000 + number, **({"tier": tier} if tier else {}))
            inventory = inventory.apply({changed: cloud})
            begin = time.perf_counter_ns()
            source.update(inventory, [changed])
            took.append((time.perf_counter_ns() - begin) / 1e6)
        report.samples(f"{what} changes, {SITES} sites, {fetched} clouds prefetched", took, "ms")


def manifest_of(name: str, port: int, **labels: str) -> Cloud:
    return manifest(name, labels, services={"image": {"endpoints": [at(port)]}}, accept=ACCEPT_ALL)


def _parts(expression: str) -> list[str]:
    names = expression.split("|") if expression else []
    return ["|".join(names[at : at + 32]) for at in range(0, len(names), 32)]


def _listens(site: Cloud) -> bool:
    assert site.front is not None
    try:
        Connection(site.front.port).socket.close()
    except ConnectionRefusedError:
        return False
    return True


if __name__ == "__main__":
    measure_changes(100)
    for fetched in FETCHED:
        with stack() as started:
            measure(started, fetched)
