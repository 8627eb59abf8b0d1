"""What it costs to plan and compile a target: python tests/bench/bench_compile.py.

Prints one JSON line for each case: microseconds, with 10,000 registered clouds, nothing memoised
but the templates and the parsed name.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import report

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    Cloud,
    CloudPattern,
    Endpoint,
    Peer,
    Service,
)
from scopeway.control_plane.planner.planner import PlanSettings, plan_target
from scopeway.control_plane.scope import parse_target
from scopeway.control_plane.serving.target_index import TargetIndex
from scopeway.control_plane.translator.clusters import compile_cluster, preload
from scopeway.xds.encoding.messages import resource
from scopeway.xds.type_urls import CLUSTER

CLOUDS = 10_000
ROUNDS = 2_000
SETTINGS = PlanSettings()


def cloud(number: int) -> Cloud:
    """Return one of the clouds: 5,000 of eu, 4,000 of us that accept nobody, 1,000 of ap.

    Each of the last has labels that no other cloud has. 4,096 of the first are also of wave 1.
    """
    region = "eu" if number < 5_000 else "us" if number < 9_000 else "ap"
    labels = {"region": region, "tier": "core" if number % 100 == 0 else "edge"}
    if number < 4_096:
        labels["wave"] = "1"
    return Cloud(
        name=f"cloud-{number}",
        labels={**labels, "site": str(number)} if region == "ap" else labels,
        peer=Peer(address="127.0.0.1", port=8443) if number % 2 else None,
        services={"image": Service(endpoints=(Endpoint(address="127.0.0.1", port=9292),))},
        accept=() if region == "us" else (AcceptRule(clouds=(CloudPattern(name="cloud-1"),)),),
    )


def measure(case: str, work: Callable[[], object], rounds: int = ROUNDS) -> None:
    """Print the median and the 99th percentile of the time that `work` takes."""
    for _ in range(rounds // 10):
        work()
    samples = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        work()
        samples.append((time.perf_counter_ns() - start) / 1000)
    report.samples(case, samples, "us")


def main() -> None:
    """Run every case."""
    preload()
    inventory = Inventory().apply({f"cloud-{n}": cloud(n) for n in range(CLOUDS)})
    caller = inventory.get("cloud-1")
    assert caller is not None
    cases = {
        "own": "image@cloud-1",
        "direct": "image@cloud-2",
        "peer": "image@cloud-5",
        "negative": "image@cloud-x",
        "two clouds": "image@cloud-2|cloud-5",
        "eight clouds": "image@" + "|".join(f"cloud-{3 * n + 1}" for n in range(8)),
        "a label of 5,000 clouds": "image@[region=eu]",
        "a label of 4,000 clouds that all refuse": "image@[region=us]",
        "a label of 1,000 clouds that have no two sets of labels equal": "image@[region=ap]",
        "all of a label of 1,000 clouds": "image@&[region=ap]",
        "all of a label of 4,096 clouds": "image@&[wave=1]",
    }
    for case, name in cases.items():
        target = parse_target(name)

        def compile_anew(name: str = name, target: object = target) -> object:
            plan = plan_target(target, caller, inventory, SETTINGS)  # type: ignore[arg-type]
            return resource(CLUSTER, name, compile_cluster(name, plan, collector="/run/scopeway"))

        measure(f"compile: {case}", compile_anew, 100 if "&" in name else ROUNDS)
        measure(f"parse: {case}", lambda name=name: parse_target(name), 200)

    index = TargetIndex()
    for number in range(CLOUDS):
        name = f"image@cloud-{number}|[region=r{number}]"
        index.add(name, parse_target(name), "cloud-1")
    changed = inventory.get("cloud-7")
    assert changed is not None
    measure("index of a change, 10,000 targets", lambda: list(index.affected([changed])))


if __name__ == "__main__":
    main()
