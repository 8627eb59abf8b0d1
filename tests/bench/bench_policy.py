"""From a changed policy in etcd to its effect on a live connection.

    python tests/bench/bench_policy.py

A sample: one connection to cloud-2's peer asks all the time; cloud-2 is put with other rules, and
the time runs from before the put to the first answer that follows them. Real etcd, `scopeway serve`
and Envoy. Rules by name, and by a label that 1,000 and 10,000 other clouds bear, where the cloud
that asks comes to bear it and loses it again; with one rule and with five.
"""

import time
from collections.abc import Callable

import report
from fixtures import LABELS, Stack, clouds, stack
from fleet.usage import cpu

from harness.fleet import manifest
from harness.http2 import Connection2
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.manifest import parse_manifest
from scopeway.control_plane.clouds.model import Cloud

SAMPLES = 60
OTHERS = (1_000, 10_000)
MIB = 1 << 20


def measure(stack: Stack) -> None:
    """Print all."""
    image = {"image": stack.service("image")}
    serve = stack.serve()
    target = stack.site("cloud-2", services=image, accept=[])
    before = stack.envoys["cloud-2"].memory()
    _samples(stack, target, "rules by name", [_accepting(target, _rule("cloud-1")), target])
    here, there = (manifest("cloud-1", labels) for labels in (LABELS, {"tier": "core"}))
    known = 0
    for others in OTHERS:
        stack.put(*clouds(others - known, stack.echo("image").port, first=known))
        known = others
        for rules in (1, 5):
            case = f"label of the caller, {others} others bear it, {rules} rules"
            stack.put(
                _accepting(target, *(_rule("[tier=edge]", number) for number in range(rules)))
            )
            start = cpu(serve.pid)
            _samples(stack, target, case, [here, there])
            spent = (cpu(serve.pid) - start) * 1000 / SAMPLES
            report.value(f"control plane for each change: {case}", spent, "ms CPU")
            grown = stack.envoys["cloud-2"].memory() - before
            report.value(f"growth of the target's Envoy: {case}", grown / MIB, "MiB")


def _rule(clouds: str, number: int = 0) -> dict[str, object]:
    services = ["image", "compute", "network", "identity", "object-store"]
    return {"clouds": [clouds], "services": [services[number]]}


def _samples(stack: Stack, target: Cloud, case: str, steps: list[Cloud]) -> None:
    """Put the clouds in turn: one that lets cloud-1 in, and one that doesn't."""
    assert target.peer
    times = []
    with Connection2(target.peer.port) as connection:

        def status() -> int:
            return connection.send("/image/v2", [("x-scopeway-origin", "cloud-1")]).status

        for number in range(SAMPLES):
            wanted = 200 if number % 2 == 0 else 403
            times.append(_until(lambda wanted=wanted: status() == wanted, stack, steps[number % 2]))
    report.samples(f"put in etcd to its effect at the target: {case}", times[2:], "ms")


def _until(condition: Callable[[], bool], stack: Stack, cloud: Cloud) -> float:
    begin = time.perf_counter()
    stack.put(cloud)
    while not condition():
        pass
    return (time.perf_counter() - begin) * 1000


def _accepting(cloud: Cloud, *rules: dict[str, object]) -> Cloud:
    document = to_document(cloud)
    document["spec"]["accept"] = list(rules)
    return parse_manifest(document, cloud.name)


if __name__ == "__main__":
    with stack() as started:
        measure(started)
