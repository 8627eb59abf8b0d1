"""One site floods the peer of another, beside an honest one: tests/bench/hostile/callers.py.

Real Envoys with certificates; the attacker is held to half a core. The honest site sends one read
after the other over a connection of its own. Cases have the limits, or none to compare with.
"""

import json
import logging
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[3]), str(Path(__file__).parents[2] / "support")]

from harness.certificates import Sites  # noqa: E402 - the path has to be there first
from harness.fleet import Fleet  # noqa: E402
from harness.http2 import Connection2  # noqa: E402

SECONDS = 5.0
READS_ALONE = 1000
FLOODS = Path(__file__).with_name("flooding_site.py")
UNLIMITED = {"requestsPerSecond": "unlimited", "requestsAtOnce": "unlimited"}

Figures = dict[str, float]


class World:
    """A site with a peer, an honest caller and one that floods."""

    def __init__(self, folder: Path, limits: dict[str, object]) -> None:
        # the service has a connection for each request that is held
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.sites = Sites(folder / "ca")
        self.fleet = Fleet(folder, sites=self.sites)
        accept = [
            {"clouds": ["honest"], "limits": UNLIMITED},
            {"clouds": ["flooding"], "limits": limits},
        ]
        services = {"image": self.fleet.service("image")}
        cloud = self.fleet.site("cloud-1", services=services, accept=accept)
        assert cloud.peer
        self.port = cloud.peer.port
        self.envoy = self.fleet.envoys["cloud-1"]

    @contextmanager
    def flood(self, held: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
        """Run the other site; it has begun to hold what it holds."""
        identity = self.sites.identity("flooding")
        command = [sys.executable, str(FLOODS), str(self.port), identity.certificate, identity.key]
        process = subprocess.Popen(
            [*command, str(held), str(seconds)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        assert process.stdin
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.stdin.close()
            process.wait()

    def reads(self, until: Callable[[int], bool]) -> tuple[list[float], int]:
        """Send honest reads one by one; return the milliseconds of each, and how many failed."""
        taken: list[float] = []
        failed = 0
        with Connection2(self.port, tls=self.sites.client("honest")) as connection:
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not until(len(taken)):
                began = time.perf_counter()
                failed += connection.send("/image/v2").status != 200
                taken.append((time.perf_counter() - began) * 1000)
        return taken, failed

    def limited(self) -> int:
        """Return how many requests have met a limit."""
        return sum(self.envoy.stats("http.peer.lua.limited").values())

    def __enter__(self) -> "World":
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.close()


def _beside(limits: dict[str, object], held: int, seconds: float) -> Figures:
    """Return the honest site's figures alone and beside the other, and what that one got."""
    with (
        TemporaryDirectory(prefix="scopeway-bench-") as folder,
        World(Path(folder), limits) as world,
    ):
        world.reads(lambda count: count >= READS_ALONE)
        alone, _ = world.reads(lambda count: count >= READS_ALONE)
        memory = world.envoy.memory()
        with world.flood(held, seconds) as process:
            end = time.monotonic() + SECONDS
            beside, failed = world.reads(lambda _: time.monotonic() > end)
            assert process.stdout
            said: dict[str, Any] = json.loads(process.stdout.readline())
            limited, grown = world.limited(), world.envoy.memory() - memory
    return {
        "honest p50 alone, ms": _quantile(alone, 0.5),
        "honest p99 alone, ms": _quantile(alone, 0.99),
        "honest p50 beside it, ms": _quantile(beside, 0.5),
        "honest p99 beside it, ms": _quantile(beside, 0.99),
        "honest requests that failed": failed,
        "its reads a second": round(said["reads"] / seconds) if seconds else 0,
        "its requests that met a limit": limited,
        "Envoy's growth, MiB": round(grown / 2**20, 1),
    }


def _quantile(values: list[float], part: float) -> float:
    return round(sorted(values)[int(len(values) * part)], 2)


def flood() -> Figures:
    """Reads as fast as it can, where 200 a second are allowed."""
    return _beside({"requestsPerSecond": 200}, 0, SECONDS)


def flood_without_limits() -> Figures:
    """The same where any number is allowed."""
    return _beside(UNLIMITED, 0, SECONDS)


def held() -> Figures:
    """It begins 10,000 uploads that never go on, where 200 are allowed at once."""
    return _beside({"requestsPerSecond": "unlimited", "requestsAtOnce": 200}, 10_000, 0)


def held_without_limits() -> Figures:
    """The same where any number is allowed."""
    return _beside(UNLIMITED, 10_000, 0)


def held_and_flood() -> Figures:
    """It holds all that it may by default, and sends reads as fast as it can, all beyond that.

    Whoever is at this limit makes the Lua collect its garbage.
    """
    return _beside({"requestsPerSecond": "unlimited"}, 2_000, SECONDS)


CASES: dict[str, Callable[[], Figures]] = {
    each.__name__: each
    for each in (flood, flood_without_limits, held, held_without_limits, held_and_flood)
}


if __name__ == "__main__":
    # the service says of each of thousands of requests that it broke off
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    for name in sys.argv[1:] or CASES:
        print(json.dumps({"case": name, **CASES[name]()}), flush=True)
