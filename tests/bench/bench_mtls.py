"""What mutual TLS and the policy cost on the path of a request: python tests/bench/bench_mtls.py.

Two fleets in one run, one with plain HTTP/2 between its sites and one with mutual TLS; in each a
request goes through the front of cloud-1 and the peer of cloud-2 to a service there. Each figure is
the CPU time of one Envoy (one worker, user and kernel) for a request, the median over rounds that
go through the cases in turn; a client keeps 32 connections busy with one request each.

Besides: the CPU time of a handshake at the peer, and what a policy of 5,000 callers weighs.
"""

import socket
import ssl
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import report
from bench_lua import CONNECTIONS, cpu_microseconds, request
from fixtures import at

from harness.certificates import Sites
from harness.envoy import Envoy
from harness.fleet import Fleet, manifest
from harness.http import Connection, send
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import policy_of
from scopeway.control_plane.translator.routes import peer_routes

CALLERS = 5_000
ROUNDS = 15
REQUESTS = CONNECTIONS * 20
HANDSHAKES = 200
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
REQUEST = request("/image/v2/images", "X-Scope: {image:cloud-2}")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two sites of one fleet."""

    fleet: Fleet
    front: int
    target: Cloud

    def accept(self, callers: int) -> None:
        """Let so many clouds use the second site, cloud-1 the last of them."""
        others = [f"cloud-{number}" for number in range(1_000_000, 1_000_000 + callers - 1)]
        assert self.target.front
        assert self.target.peer
        before = self._reloads()
        self.fleet.control_plane.put(
            manifest(
                "cloud-2",
                front=at(self.target.front.port),
                peer=at(self.target.peer.port),
                services={"image": self.fleet.service("image")},
                accept=[{"clouds": [*others, "cloud-1"]}],
            )
        )
        if not self.fleet.eventually(lambda: self._reloads() > before and self._answers()):
            raise SystemExit("the policy was not taken")

    def envoy(self, cloud: str) -> Envoy:
        return self.fleet.envoys[cloud]

    def _answers(self) -> bool:
        return send(self.front, "/image/v2", [("X-Scope", "{image:cloud-2}")]).status == 200

    def _reloads(self) -> int:
        name = "http.peer.rds.peer.config_reload"
        return self.envoy("cloud-2").stats(name)[name]


@contextmanager
def pair(folder: Path, *, mutual_tls: bool) -> Iterator[Pair]:
    """Start two sites."""
    folder.mkdir()
    fleet = Fleet(folder, sites=Sites(folder / "ca") if mutual_tls else None)
    try:
        services = {"image": fleet.service("image")}
        target = fleet.site("cloud-2", services=services, accept=[{"clouds": ["cloud-3"]}])
        origin = fleet.site("cloud-1", services=services)
        assert origin.front
        yield Pair(fleet, origin.front.port, target)
    finally:
        fleet.close()


def measure(pairs: dict[str, Pair]) -> None:
    """Print the cost of a request at both ends, by transport and size of the policy."""
    spent: dict[tuple[str, int, str], list[float]] = {}
    for round_ in range(ROUNDS + 1):
        for callers in (1, CALLERS):
            for name, pair in pairs.items():
                pair.accept(callers)
                before = _spent(pair)
                _load(pair.front)
                after = _spent(pair)
                if round_:  # the first is the warm-up
                    for cloud, now in after.items():
                        key = name, callers, cloud
                        spent.setdefault(key, []).append((now - before[cloud]) / REQUESTS)
    for (name, callers, cloud), values in spent.items():
        end = "origin" if cloud == "cloud-1" else "target"
        case = f"a request at the {end}, {name}, {callers} callers allowed"
        report.value(case, statistics.median(values), "us CPU", n=ROUNDS)
    _ratios(spent)


def _ratios(spent: dict[tuple[str, int, str], list[float]]) -> None:
    def ratio(case: str, some: Sequence[float], others: Sequence[float]) -> None:
        pairs = zip(some, others, strict=True)
        report.value(case, statistics.median(a / b for a, b in pairs), "times", n=ROUNDS)

    def both(name: str, callers: int) -> list[float]:
        ends = (spent[name, callers, cloud] for cloud in ("cloud-1", "cloud-2"))
        return [sum(each) for each in zip(*ends, strict=True)]

    ratio("mutual TLS to plain, both ends", both("mutual TLS", 1), both("plain", 1))
    for name in ("plain", "mutual TLS"):
        many, one = (spent[name, callers, "cloud-2"] for callers in (CALLERS, 1))
        ratio(f"{CALLERS} callers to 1, at the target, {name}", many, one)


def measure_handshakes(pair: Pair) -> None:
    """Print what a new connection costs the peer; both sides prove themselves."""
    sites = pair.fleet.sites
    assert sites
    assert pair.target.peer
    context, port = sites.client("cloud-1"), pair.target.peer.port
    samples = []
    for round_ in range(ROUNDS + 1):
        before = cpu_microseconds(pair.envoy("cloud-2").pid)
        for _ in range(HANDSHAKES):
            _shake_hands(context, port)
        if round_:
            spent = cpu_microseconds(pair.envoy("cloud-2").pid) - before
            samples.append(spent / HANDSHAKES)
    report.value("a handshake at the peer", statistics.median(samples), "us CPU", n=ROUNDS)


def _shake_hands(context: ssl.SSLContext, port: int) -> None:
    plain = socket.create_connection(("127.0.0.1", port))
    with context.wrap_socket(plain, server_hostname="peer") as connection:
        connection.sendall(PREFACE)
        connection.recv(1)  # its settings: it has believed us


def measure_weight(pair: Pair) -> None:
    """Print what a policy weighs on the wire and in Envoy."""
    pair.accept(1)
    before = pair.envoy("cloud-2").memory()
    pair.accept(CALLERS)
    grown = pair.envoy("cloud-2").memory() - before
    cloud = pair.fleet.control_plane.inventory.get("cloud-2")
    assert cloud
    routes = peer_routes(policy_of(cloud), Inventory(), trust_domain="fleet.test").body
    report.value("a caller in the routes", len(routes) / CALLERS, "bytes", n=CALLERS)
    report.value("a caller in Envoy, at most", grown / CALLERS, "bytes", n=CALLERS)


def _load(port: int) -> None:
    """Send `REQUESTS`, `CONNECTIONS` at a time; each must be answered 200."""
    with ExitStack() as stack:
        connections = [stack.enter_context(Connection(port)) for _ in range(CONNECTIONS)]
        for _ in range(REQUESTS // CONNECTIONS):
            for each in connections:
                each.socket.sendall(REQUEST)
            for each in connections:
                if (response := each.read()).status != 200:
                    raise SystemExit(f"not answered 200: {response}")


def _spent(pair: Pair) -> dict[str, float]:
    return {cloud: cpu_microseconds(pair.envoy(cloud).pid) for cloud in ("cloud-1", "cloud-2")}


def main() -> None:
    """Measure everything."""
    with (
        tempfile.TemporaryDirectory() as folder,
        pair(Path(folder) / "plain", mutual_tls=False) as plain,
        pair(Path(folder) / "tls", mutual_tls=True) as tls,
    ):
        measure_weight(tls)  # first: afterwards the memory is there already
        measure({"plain": plain, "mutual TLS": tls})
        measure_handshakes(tls)


if __name__ == "__main__":
    main()
