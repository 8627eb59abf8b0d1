"""Starting with 10,000 clouds, and the memory of it: python tests/bench/bench_scale.py.

- the control plane, from exec until /readyz is 200, with 10,000 clouds in a real etcd; its resident
  set then, and after an Envoy used 50 of them
- that Envoy's resident set, with 10,000 clouds registered and 50 used, beside the same Envoy before
"""

import statistics
import time

import report
from fixtures import LABELS, Stack, at, clouds, stack

from harness.http import Connection

CLOUDS = 10_000
STARTS = 5
USED = 50
MIB = 1 << 20


def measure(stack: Stack) -> None:
    """Print the times of starting, and the memory."""
    port = stack.echo("image").port
    stack.put(*clouds(CLOUDS, port))
    times = []
    begin = time.perf_counter()
    serve = stack.serve()
    times.append(time.perf_counter() - begin)
    for _ in range(STARTS - 1):
        serve.kill()
        begin = time.perf_counter()
        serve.start()
        times.append(time.perf_counter() - begin)
    report.value(f"control plane start, {CLOUDS} clouds", statistics.median(times), "s", n=STARTS)
    report.value(f"control plane memory, {CLOUDS} clouds", serve.memory() / MIB, "MiB")

    site = stack.site("cloud-1", labels=LABELS, services={"image": {"endpoints": [at(port)]}})
    assert site.front is not None
    envoy = stack.envoys["cloud-1"]
    report.value("Envoy memory, no cloud used", envoy.memory() / MIB, "MiB")
    with Connection(site.front.port) as connection:
        for number in range(USED):
            headers = [("X-Scope", f"{{image:edge-{number}}}")]
            assert connection.send("/image/v2/images", headers).status == 200
    report.value(
        f"Envoy memory, {CLOUDS} clouds registered, {USED} used", envoy.memory() / MIB, "MiB"
    )
    report.value(f"control plane memory, {CLOUDS} clouds, {USED} used", serve.memory() / MIB, "MiB")


if __name__ == "__main__":
    with stack() as started:
        measure(started)
