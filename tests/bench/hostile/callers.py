"""One certified site floods the peer of another, beside an honest one.

Real Envoys with certificates. The honest site sends reads one by one over a connection of its own.
Each attack is measured with limits for the calling cloud, and without any to compare with.
"""

import logging
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "support")]

from hostile.attacker import Figures, attacker, compared, timed  # noqa: E402

from harness.certificates import Sites  # noqa: E402 - the path has to be there first
from harness.fleet import Fleet  # noqa: E402
from harness.http2 import Connection2  # noqa: E402

SAMPLES, PAUSE = 500, 0.005
MIB = 1 << 20
SITE = Path(__file__).with_name("flooding_site.py")
UNLIMITED = {"requestsPerSecond": "unlimited", "requestsAtOnce": "unlimited"}

Limits = Mapping[str, object]


class World:
    """A site with a peer, an honest caller and one that floods."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.sites = Sites(folder / "ca")
        self.fleet = Fleet(folder, sites=self.sites)
        accept = [
            {"clouds": ["honest"], "limits": UNLIMITED},
            {"clouds": ["flooding"], "limits": {**limits}},
        ]
        services = {"image": self.fleet.service("image")}
        cloud = self.fleet.site("cloud-1", services=services, accept=accept)
        assert cloud.peer
        self.port = cloud.peer.port
        self.envoy = self.fleet.envoys["cloud-1"]

    def refused(self) -> int:
        """Return how many requests have met a limit."""
        return sum(self.envoy.stats("http.peer.lua.limited").values())

    def ended(self) -> int:
        """Return how many requests have been answered."""
        return self.envoy.stats("http.peer.downstream_rq_completed")[
            "http.peer.downstream_rq_completed"
        ]


@contextmanager
def world(limits: Limits) -> Iterator[World]:
    """Start everything."""
    # the service has a connection for each request that is held, and says of each that it broke off
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    with TemporaryDirectory(prefix="scopeway-bench-") as folder:
        made = World(Path(folder), limits)
        try:
            yield made
        finally:
            made.fleet.close()


def _flooded(limits: Limits, held: int, reads: int) -> Figures:
    """Return the honest site's figures alone and beside the other, and what became of that one's.

    Args:
        limits: Of the flooding site.
        held: How many requests it begins and never ends.
        reads: How many reads it has on their way after that, all the time.
    """
    with world(limits) as made, Connection2(made.port, tls=made.sites.client("honest")) as honest:
        honest.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def ask() -> bool:
            return honest.send("/image/v2").status == 200

        timed(ask, 100, PAUSE)
        alone = timed(ask, SAMPLES, PAUSE)
        files, memory = made.sites.identity("flooding"), made.envoy.memory()
        site = (made.port, files.certificate, files.key, held, reads)
        with attacker(SITE, *site):
            began, ended, refused = time.monotonic(), made.ended(), made.refused()
            beside = timed(ask, SAMPLES, PAUSE)
            seconds = time.monotonic() - began
            ended, refused = made.ended() - ended - SAMPLES, made.refused() - refused
            grown = made.envoy.memory() - memory
    return {
        **compared("honest site", alone, beside),
        "the other's reads that were served, a second": round(max(0, ended - refused) / seconds),
        "refused, a second": round(refused / seconds),
        "Envoy's growth, MiB": round(grown / MIB, 1),
    }


MANY_READS = 100
CASES: dict[str, Callable[[], Figures]] = {
    "reads, 200 a second allowed": partial(_flooded, {"requestsPerSecond": 200}, 0, MANY_READS),
    "reads, no limit": partial(_flooded, UNLIMITED, 0, MANY_READS),
    "5,000 held, 200 allowed": partial(_flooded, {"requestsAtOnce": 200}, 5_000, 0),
    "5,000 held, no limit": partial(_flooded, UNLIMITED, 5_000, 0),
    # each read is beyond the limit and makes the Lua look whether that is so
    "500 held, all that is allowed, and reads beyond": partial(
        _flooded, {"requestsPerSecond": "unlimited", "requestsAtOnce": 500}, 500, MANY_READS
    ),
}
"""Name to what it measures."""
