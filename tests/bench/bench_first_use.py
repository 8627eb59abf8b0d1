"""The first request to a target, and each later one: python tests/bench/bench_first_use.py.

Real etcd, `scopeway serve` and Envoy, with 10 and with 10,000 registered clouds. A sample is one
request on a kept-alive connection to a target that this Envoy has never seen; beside it the second
request to the same target, so that the difference is what the first use costs.
"""

import time

import report
from fixtures import LABELS, Stack, at, clouds, stack

from harness.http import Connection

COUNTS = (10, 10_000)
SAMPLES = 300
WARM_UP = 5


def measure(stack: Stack, count: int) -> None:
    """Print first and later uses with `count` registered clouds."""
    port = stack.echo("image").port
    stack.put(*clouds(count, port))
    stack.serve()
    site = stack.site("cloud-1", labels=LABELS, services={"image": {"endpoints": [at(port)]}})
    assert site.front is not None
    first, later = [], []
    with Connection(site.front.port) as connection:

        def use(scope: str) -> float:
            begin = time.perf_counter_ns()
            response = connection.send("/image/v2/images", [("X-Scope", scope)])
            took = (time.perf_counter_ns() - begin) / 1e6
            assert response.status == 200, response.body
            return took

        for number in range(SAMPLES + WARM_UP):
            # parentheses make further names for the few clouds
            cloud = f"edge-{number % count}"
            scope = f"{{image:{'(' * (number // count)}{cloud}{')' * (number // count)}}}"
            samples = use(scope), use(scope)
            if number >= WARM_UP:
                first.append(samples[0])
                later.append(samples[1])
    report.samples(f"first use of a target, {count} clouds registered", first, "ms")
    report.samples(f"second use of a target, {count} clouds registered", later, "ms")


if __name__ == "__main__":
    for count in COUNTS:
        with stack() as started:
            measure(started, count)
