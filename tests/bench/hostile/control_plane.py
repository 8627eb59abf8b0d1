"""An honest client's first uses while a certified site attacks the control plane.

`CASES` has each attack of `xds_attacker.py`. Real etcd, `scopeway serve` with mutual TLS and 10,000
clouds, one Envoy of an honest site; the attacker is held to half a core.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1])]

from fixtures import ACCEPT_ALL, LABELS, REPOSITORY, Stack, at, clouds, stack  # noqa: E402
from hostile.attacker import Figures, compared, held_back  # noqa: E402
from hostile.xds_attacker import ATTACKS  # noqa: E402

from harness.fleet import manifest  # noqa: E402
from harness.http import Connection  # noqa: E402
from harness.identities import Identities  # noqa: E402
from harness.stack import ServeProcess  # noqa: E402

CLOUDS = 10_000
SAMPLES = 100
"""Before and during an attack."""
PAUSE = 0.05
"""Seconds between two first uses: fewer than a front lets pass."""
WARM_UP = 2.0
"""Seconds until the attack is under way."""
ATTACKER = Path(__file__).with_name("xds_attacker.py")
MIB = 1 << 20


class Honest:
    """A client of an honest site."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._used = 0

    def first_uses(self) -> tuple[list[float], int]:
        """Return the milliseconds of each first use, and how many of them failed."""
        took, failed = [], 0
        with Connection(self._port) as connection:
            for _ in range(SAMPLES):
                self._used += 1
                scope = f"{{image:cloud-1|edge-{self._used}}}"
                begin = time.perf_counter()
                answer = connection.send("/image/v2/images", [("X-Scope", scope)])
                took.append((time.perf_counter() - begin) * 1e3)
                failed += answer.status != 200
                time.sleep(PAUSE)
        return took, failed


@contextmanager
def attacker(name: str, serve: ServeProcess, stack: Stack, cloud: str) -> Iterator[None]:
    """Run an attack until the block is left."""
    assert stack.identities is not None
    folder = stack.identities.of(cloud).certificate.parent
    command = [sys.executable, str(ATTACKER), name, str(serve.xds_port), str(folder), cloud]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen(command, env=environment)
    try:
        with held_back(process.pid):
            yield
    finally:
        process.kill()
        process.wait()


class World:
    """A control plane and an honest site."""

    def __init__(self, started: Stack) -> None:
        self.stack = started
        started.identities = Identities(started.folder)
        port = started.echo("image").port
        started.put(*clouds(CLOUDS, port))
        self.serve = started.serve()
        services = {"image": {"endpoints": [at(port)]}}
        site = started.site("cloud-1", labels=LABELS, services=services, accept=ACCEPT_ALL)
        started.put(manifest("cloud-3", LABELS, services=services, accept=ACCEPT_ALL))
        assert site.front is not None
        self.honest = Honest(site.front.port)
        self.honest.first_uses()

    def measure(self, name: str) -> dict[str, float]:
        """Return the figures of one attack."""
        alone, _ = self.honest.first_uses()
        before = self.serve.memory()
        self.serve.get("/metrics")  # the longest turn counts from here
        with attacker(name, self.serve, self.stack, "cloud-3"):
            most, lag = [0], [0.0]
            over = threading.Event()

            def look() -> None:
                while not over.wait(0.25):
                    most[0] = max(most[0], self.serve.memory())
                    found = self.serve.metrics()
                    lag[0] = max(lag[0], found.get("scopeway_event_loop_lag_seconds_max", -1.0))

            looking = threading.Thread(target=look)
            looking.start()
            time.sleep(WARM_UP)
            begin, cpu = time.monotonic(), self.serve.cpu()
            beside, failed = self.honest.first_uses()
            cores = (self.serve.cpu() - cpu) / (time.monotonic() - begin)
            over.set()
            looking.join()
        time.sleep(2)
        return {
            **compared("first use", alone, beside),
            "first use beside, longest ms": max(beside),
            "failed": failed,
            "longest turn, CPU ms": lag[0] * 1e3,
            "cores": cores,
            "memory before, MiB": before / MIB,
            "memory at most, MiB": most[0] / MIB,
            "log, MiB": self.serve.log_file.stat().st_size / MIB,
        }


def _measured(attack: str) -> Figures:
    with stack() as started:
        return World(started).measure(attack)


CASES: Mapping[str, Callable[[], Figures]] = {
    name.replace("_", " "): partial(_measured, name) for name in ATTACKS
}
