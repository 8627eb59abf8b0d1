"""From a changed policy in etcd to its effect on a live connection.

    python tests/bench/bench_policy.py

A sample: one connection to cloud-2's peer asks all the time; cloud-2 is put with other rules, and
the time runs from before the put to the first answer that follows them. Real etcd, `scopeway serve`
and Envoy. Rules by name, and by a label that 1,000 other clouds bear, where the cloud that asks
comes to bear it and loses it again.
"""

import time
from collections.abc import Callable

import report
from fixtures import LABELS, Stack, clouds, stack
from harness.fleet import manifest
from harness.http2 import Connection2

from control_plane.clouds.document import to_document
from control_plane.clouds.manifest import parse_manifest
from control_plane.clouds.model import Cloud

SAMPLES = 60
OTHERS = 1_000


def measure(stack: Stack) -> None:
    """Print both."""
    image = {"image": stack.service("image")}
    stack.put(*clouds(OTHERS, stack.echo("image").port))
    stack.serve()
    target = stack.site("cloud-2", services=image, accept=[])
    by_name, by_label = (_accepting(target, each) for each in ("cloud-1", "[tier=edge]"))
    _samples(stack, target, "rules by name", [by_name, target])
    stack.put(by_label)
    here, there = (manifest("cloud-1", labels) for labels in (LABELS, {"tier": "core"}))
    _samples(stack, target, "labels of the caller, 1,000 others bear them", [here, there])


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


def _accepting(cloud: Cloud, clouds: str) -> Cloud:
    document = to_document(cloud)
    document["spec"]["accept"] = [{"clouds": [clouds]}]
    return parse_manifest(document, cloud.name)


if __name__ == "__main__":
    with stack() as started:
        measure(started)
