"""From `put` in etcd to the first success: python tests/bench/bench_put.py.

A sample: a target is asked for (404), then its cloud is put, and the same request is repeated until
it succeeds; the time runs from before the put to the successful answer. Real etcd, `scopeway serve`
and Envoy, 1,000 other clouds registered.
"""

import time

import report
from fixtures import LABELS, Stack, at, clouds, stack

from harness.http import Connection

SAMPLES = 200
OTHERS = 1_000


def measure(stack: Stack) -> None:
    """Print the time from a put to the first success."""
    port = stack.echo("image").port
    stack.put(*clouds(OTHERS, port))
    stack.serve()
    site = stack.site("cloud-1", labels=LABELS, services={"image": {"endpoints": [at(port)]}})
    assert site.front is not None
    times = []
    with Connection(site.front.port) as connection:
        for cloud in clouds(SAMPLES, port, first=OTHERS):
            scope = [("X-Scope", f"{{image:{cloud.name}}}")]
            assert connection.send("/image/v2/images", scope).status == 404
            begin = time.perf_counter_ns()
            stack.put(cloud)
            while (status := connection.send("/image/v2/images", scope).status) == 404:
                pass
            assert status == 200, status
            times.append((time.perf_counter_ns() - begin) / 1e6)
    report.samples("put in etcd to the first success", times, "ms")


if __name__ == "__main__":
    with stack() as started:
        measure(started)
