"""What a cache of validations spares a real Keystone: python tests/bench/bench_validation_cache.py.

Two fleets in one run, with a real Keystone each: in one the collector of its site caches
validations, in the other there is no cache. A hundred clouds that honour its tokens validate one
token each, as the first use of a fan-out makes them do. They are one Envoy, which asks a hundred
times with mutual TLS; the cache cannot tell. Each figure is CPU time a validation, the median over
rounds that go through both fleets in turn. Keystone's own cache is on in both (`oslo_cache.dict`).

Needs the environment that `make demo` installs (`.venv-openstack`).
"""

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import report
from bench_lua import cpu_microseconds
from fixtures import at

from demo import openstack
from demo.errors import PartMissing
from demo.openstack import log_in
from demo.openstack_files import ADMIN
from demo.site import make_sites
from harness.certificates import Sites
from harness.collector import start_collector
from harness.fleet import Fleet
from harness.http import send
from harness.process import Process
from harness.supervisor import Supervisor

ROUNDS = 9
CLOUDS = 100
SECONDS = 5
TOKENS = "/identity/v3/auth/tokens"


@dataclass(frozen=True, slots=True)
class Home:
    """A cloud with a Keystone, and one that honours its tokens."""

    fleet: Fleet
    keystone: Process
    collector: Process | None
    url: str
    """Of the Keystone, at the front of its site."""
    front: int
    """Of the other cloud."""

    def processes(self) -> dict[str, int]:
        """Return the parts whose CPU time counts."""
        found = {"Keystone": self.keystone.pid, "Envoy at home": self.fleet.envoys["cloud-1"].pid}
        return found if self.collector is None else {**found, "collector": self.collector.pid}

    def token(self) -> str:
        """Return a new token."""
        return log_in(self.url, user=ADMIN, project=ADMIN)

    def validate(self, token: str) -> None:
        """Validate a token at the other cloud, as its services do."""
        headers = [("X-Auth-Token", "service"), ("X-Subject-Token", f"{token}~1~*:cloud-1")]
        answer = send(self.front, TOKENS, headers)
        if answer.status != 200:
            raise SystemExit(f"a validation failed: {answer.status} {answer.body!r}")


@contextmanager
def home(folder: Path, environment: Path, *, cached: bool) -> Iterator[Home]:
    """Start both clouds."""
    folder.mkdir()
    (site,) = make_sites(("cloud-1",), folder)
    with ExitStack() as stack:
        supervisor = stack.enter_context(Supervisor(logs=folder))
        openstack.install(supervisor, environment, [site])
        keystone = openstack.start_api(supervisor, environment, site, "identity")
        keystone.wait_for_ports(site.services["identity"])
        fleet = Fleet(folder, sites=Sites(folder / "ca"))
        stack.callback(fleet.close)
        sockets = fleet.collector_folder("cloud-1") if cached else None
        first = fleet.site(
            "cloud-1",
            services={"identity": {"endpoints": [at(site.services["identity"])]}},
            accept=[{"clouds": ["cloud-2"], "services": ["identity.validate"]}],
            collector=sockets,
            cache_validations=cached,
        )
        honours = {"clouds": ["cloud-1"], "roles": ["admin"]}
        other = fleet.site(
            "cloud-2",
            services={"identity": fleet.service("keystone-2")},
            accept=[{"clouds": ["nobody"], "identity": honours}],
        )
        collector = None
        if sockets is not None:
            collector = start_collector("cloud-1", sockets, "--cache-validations", SECONDS)
            stack.callback(collector.stop)
        assert first.front
        assert other.front
        url = f"http://127.0.0.1:{first.front.port}/identity/v3"
        yield Home(fleet, keystone, collector, url, other.front.port)


def measure(homes: dict[str, Home]) -> None:
    """Print what a validation costs each part."""
    spent: dict[tuple[str, str], list[float]] = {}
    times: dict[str, list[float]] = {name: [] for name in homes}
    for round_ in range(ROUNDS + 1):
        for name, each in homes.items():
            token = each.token()
            before = {part: cpu_microseconds(pid) for part, pid in each.processes().items()}
            begin = time.perf_counter()
            for _ in range(CLOUDS):
                each.validate(token)
            if not round_:  # the first is the warm-up
                continue
            times[name].append((time.perf_counter() - begin) / CLOUDS * 1000)
            for part, pid in each.processes().items():
                used = (cpu_microseconds(pid) - before[part]) / CLOUDS
                spent.setdefault((name, part), []).append(used)
    for (name, part), values in spent.items():
        case = f"a validation of one token by {CLOUDS} clouds, {name}: {part}"
        report.value(case, statistics.median(values) / 1000, "ms CPU", n=ROUNDS)
    for name, values in times.items():
        case = f"a validation of one token by {CLOUDS} clouds, {name}: time"
        report.value(case, statistics.median(values), "ms", n=ROUNDS)
    totals = {
        name: [sum(round_) for round_ in zip(*values, strict=True)]
        for name, values in (
            (name, [found for (owner, _), found in spent.items() if owner == name])
            for name in homes
        )
    }
    without, cached = totals["no cache"], totals["cached"]
    ratio = statistics.median(a / b for a, b in zip(without, cached, strict=True))
    report.value("CPU without a cache to that with it, all parts", ratio, "times", n=ROUNDS)


def main() -> None:
    """Measure both."""
    try:
        environment = openstack.find_openstack()
    except PartMissing as error:
        raise SystemExit(f"skipped: {error}") from None
    with tempfile.TemporaryDirectory(prefix="scopeway") as name, ExitStack() as stack:
        homes = {
            case: stack.enter_context(
                home(Path(name) / case.replace(" ", "-"), environment, cached=case == "cached")
            )
            for case in ("no cache", "cached")
        }
        measure(homes)


if __name__ == "__main__":
    main()
