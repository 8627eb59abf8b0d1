"""Requests that do not move, at a front, beside an honest client.

Two sites with mutual TLS, real Envoys, etcd and control plane; 100 requests of one client are
stalled. Memory is what Envoy has allocated, beyond what it had before.
"""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2] / "support")]

from hostile.attacker import Figures, attacker, compared, timed  # noqa: E402

from harness.http import send  # noqa: E402 - the path has to be there first
from harness.identities import Identities  # noqa: E402
from harness.services import at  # noqa: E402
from harness.stack import Stack  # noqa: E402

STALLED = 100
SAMPLES, FIRST_USES = 300, 100
FILLING = 50
"""Requests while the stalled ones fill the buffers on their way."""
PAUSE = 0.01
MIB = 1 << 20
SCOPES = {
    "own": "",
    "another site": "{image:cloud-2}",
    "one of two": "{image:cloud-2|cloud-1}",
}
CLIENTS = Path(__file__).with_name("stalled_clients.py")
SERVICE = Path(__file__).with_name("stalling_service.py")


class World:
    """Two sites whose services are one."""

    def __init__(self, stack: Stack, service: int) -> None:
        stack.serve()
        services = {"image": {"endpoints": [at(service)]}}
        stack.site("cloud-2", services=services, accept=[{"clouds": ["cloud-1"]}])
        cloud = stack.site("cloud-1", services=services)
        assert cloud.front is not None
        self.front = cloud.front.port
        self.envoys = [stack.envoys[name] for name in ("cloud-1", "cloud-2")]
        self._number = itertools.count()

    def ask(self, scope: str) -> bool:
        """Send one request; return whether it was served."""
        headers = [("X-Scope", scope)] if scope else []
        try:
            return send(self.front, "/image/100", headers, timeout=5).status == 200
        except OSError:
            return False

    def first_use(self) -> bool:
        """Send a request to a target that nobody has used before."""
        return self.ask(f"{{image:none-{next(self._number)}|cloud-2}}")

    def settle(self) -> None:
        """Wait until the stalled requests take no more memory."""
        before, now = [0, 0], self.allocated()
        while any(abs(one - other) > MIB for one, other in zip(before, now, strict=True)):
            time.sleep(0.3)
            before, now = now, self.allocated()

    def allocated(self) -> list[int]:
        """Return what the front's and the peer's Envoy have allocated, in bytes."""
        return [int(each.admin("/memory").json["allocated"]) for each in self.envoys]


@contextmanager
def world() -> Iterator[World]:
    """Start everything, with certificates."""
    with (
        TemporaryDirectory(prefix="scopeway-bench-") as folder,
        Stack(Path(folder)) as stack,
        subprocess.Popen([sys.executable, "-B", SERVICE], stdout=subprocess.PIPE) as service,
    ):
        stack.identities = Identities(Path(folder))
        assert service.stdout is not None
        yield World(stack, int(service.stdout.readline()))
        service.kill()


def beside(where: str, way: str) -> Figures:
    """Return the figures of an honest client that uses the same cloud by the same front."""
    scope = SCOPES[where]
    with world() as sites:
        use = partial(sites.ask, scope)
        timed(use, SAMPLES // 3, 0)
        alone = timed(use, SAMPLES, PAUSE), timed(sites.first_use, FIRST_USES, PAUSE)
        before = sites.allocated()
        with attacker(CLIENTS, sites.front, scope, way, STALLED):
            filling = timed(use, FILLING, PAUSE)
            sites.settle()
            used = timed(use, SAMPLES, PAUSE), timed(sites.first_use, FIRST_USES, PAUSE)
            grown = [now - less for now, less in zip(sites.allocated(), before, strict=True)]
    return {
        **compared("in use", alone[0], used[0]),
        **compared("first use", alone[1], used[1]),
        "in use while they fill, longest ms": round(max(filling), 2),
        "front MiB a stalled request": round(grown[0] / MIB / STALLED, 2),
        "peer MiB a stalled request": round(grown[1] / MIB / STALLED, 2),
    }


CASES: dict[str, Callable[[], Figures]] = {
    f"{STALLED} stalled {way}, {where}": partial(beside, where, way)
    for where in SCOPES
    for way in ("download-h1", "download-h2", "upload-h1", "upload-h2")
}
