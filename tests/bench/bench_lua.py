"""What the Lua filters cost: python tests/bench/bench_lua.py.

One Envoy with one worker and a listener for each case, whose only route is a direct response: no
upstream, no on-demand discovery, no header mutation, no access log. A client keeps 32 connections
busy with one request each. The time is that of all threads of Envoy, user and kernel, divided by
the requests; rounds go through the cases in turn, so that the machine's moods hit all alike.

Prints one JSON line for each case: the median over the rounds, and that of the differences to the
empty filter in the same round. Without Envoy it says so and measures nothing.

`--against CHECKOUT` measures the Lua of another checkout of this repository in the same Envoy, in
turn with this one's, and prints for each case by how many percent of a request the two differ:
the median over the rounds, and the quartiles.
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

import betterproto2
from envoy_data_plane.envoy.config.core.v3 import TypedExtensionConfig

from harness.envoy import PROGRAM, Envoy
from harness.ports import free_ports
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES
from scopeway.control_plane.translator.link_filter import configuration
from scopeway.control_plane.translator.route_parts import LOCATION
from scopeway.lua_filters import bundle

CONNECTIONS = 32
REQUESTS = 1_920
WARM_UP = 6_400
ROUNDS = 25
TYPES = "type.googleapis.com/envoy.extensions.filters"

TOKEN = "A" * 183
SCOPE = "{keystone:cloud-1;glance:cloud-3}"
SUFFIX = "~1~*:cloud-1;identity:cloud-1;image:cloud-3"
CONSTANTS = {
    "site": "cloud-1",
    "services": {**ALIASES, **{service: service for service in SERVICE_TYPES}},
}
GATE = [
    TypedExtensionConfig.parse(configuration(bundle("links", CONSTANTS))).to_dict(
        casing=betterproto2.Casing.SNAKE
    )
]
LIMITS = {"per_second": 10**9, "at_once": 2_000}
"""Of each caller; the one of this bench meets none."""
LOCATED = {
    "header": {"key": "location", "value": LOCATION},
    "append_action": "OVERWRITE_IF_EXISTS",
}
EMPTY = "function envoy_on_request(handle) end"


def request(path: str, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: front", "User-Agent: bench", "Accept: */*", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


PLAIN = request("/image/v2/images", f"X-Auth-Token: {TOKEN}")
CASES: dict[str, tuple[str | None, bytes]] = {
    "none": (None, PLAIN),
    "empty": (EMPTY, PLAIN),
    "empty, both hooks": (f"{EMPTY} function envoy_on_response(handle) end", PLAIN),
    "front, no scope": (bundle("front", CONSTANTS), PLAIN),
    "front, no scope, links": (bundle("front", CONSTANTS), PLAIN),
    "front, X-Scope": (
        bundle("front", CONSTANTS),
        request("/image/v2/images", f"X-Auth-Token: {TOKEN}", f"X-Scope: {SCOPE}"),
    ),
    "front, scope in the token": (
        bundle("front", CONSTANTS),
        request("/image/v2/images", f"X-Auth-Token: {TOKEN}{SUFFIX}"),
    ),
    "front/image, no scope": (
        bundle("front", {**CONSTANTS, "service": "image"}),
        request("/v2/images", f"X-Auth-Token: {TOKEN}"),
    ),
    "front, plain service, X-Scope": (
        bundle("front", {**CONSTANTS, "http": {"image": {}}}),
        request("/image/v2/images", f"X-Auth-Token: {TOKEN}", "X-Scope: {image:cloud-3}"),
    ),
    "peer": (
        bundle("peer", {**CONSTANTS, "limits": LIMITS}),
        request("/image/v2/images", f"X-Auth-Token: {TOKEN}{SUFFIX}", "x-scopeway-origin: cloud-7"),
    ),
}
"""Name to Lua text and request; "empty" is what the others are compared with. With "links" the
listener has what leads clients back, too, and no answer has a `Location`."""


def listener(name: str, port: int, script: str | None) -> dict[str, Any]:
    """Return a listener with one filter, or none, and an answer of its own."""
    lua = {"@type": f"{TYPES}.http.lua.v3.Lua", "default_source_code": {"inline_string": script}}
    router = {"@type": f"{TYPES}.http.router.v3.Router"}
    links = GATE if ", links" in name else []
    answer = {"status": 200, "body": {"inline_string": "ok"}}
    route = {"match": {"prefix": "/"}, "direct_response": answer}
    routes = [{**route, "response_headers_to_add": [LOCATED] if links else []}]
    manager = {
        "@type": f"{TYPES}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "generate_request_id": False,
        "http_filters": [
            *([{"name": "lua", "typed_config": lua}] if script is not None else []),
            *links,
            {"name": "router", "typed_config": router},
        ],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    }
    return {
        "name": name,
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


@contextmanager
def envoy(ports: dict[str, int]) -> Iterator[Envoy]:
    """Run an Envoy with a listener for each case."""
    listeners = [listener(name, ports[name], script) for name, (script, _) in CASES.items()]
    bootstrap = {
        "node": {"id": "cloud-1/bench", "cluster": "cloud-1"},
        "static_resources": {"listeners": listeners},
    }
    with tempfile.TemporaryDirectory() as folder:
        running = Envoy(bootstrap, Path(folder))
        try:
            running.wait_ready()
            yield running
        finally:
            running.stop()


def load(port: int, data: bytes, count: int) -> None:
    """Send so many requests, CONNECTIONS at a time; each must be answered 200."""
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS)]
    try:
        for _ in range(count // CONNECTIONS):
            for each in sockets:
                each.sendall(data)
            for each in sockets:
                if not each.recv(4096).startswith(b"HTTP/1.1 200 "):
                    raise SystemExit("a request was not answered 200")
    finally:
        for each in sockets:
            each.close()


def cpu_microseconds(pid: int) -> float:
    """Return what all threads of a process have run, from the scheduler's own nanoseconds."""
    tasks = Path(f"/proc/{pid}/task")
    return sum(int((each / "schedstat").read_text().split()[0]) for each in tasks.iterdir()) / 1000


def measure() -> dict[str, list[float]]:
    """Return case to microseconds a request, one number for each round."""
    ports = dict(zip(CASES, free_ports(len(CASES)), strict=True))
    samples: dict[str, list[float]] = {name: [] for name in CASES}
    with envoy(ports) as running:
        for name, (_, data) in CASES.items():
            load(ports[name], data, WARM_UP)
        for _ in range(ROUNDS):
            for name, (_, data) in CASES.items():
                before = cpu_microseconds(running.pid)
                load(ports[name], data, REQUESTS)
                spent = cpu_microseconds(running.pid) - before
                samples[name].append(spent / REQUESTS)
    return samples


AGAINST = ", of the other checkout"


def add_cases_of(checkout: Path) -> None:
    """Add the cases of another checkout that have the same names here."""
    command = (
        "import bench_lua, json; print(json.dumps({k: v[0] for k, v in bench_lua.CASES.items()}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", command],
        cwd=checkout / "tests" / "bench",
        env={**os.environ, "PYTHONPATH": f"{checkout / 'src'}:{checkout / 'tests' / 'support'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SystemExit(f"{checkout} is no checkout with this bench: {done.stderr[-500:]}")
    others = json.loads(done.stdout)
    for name, (script, data) in list(CASES.items()):
        CASES[name] = CASES.pop(name)  # the two of a pair one after the other
        if script is not None and others.get(name) is not None and not name.startswith("empty"):
            CASES[name + AGAINST] = others[name], data


def print_differences(samples: dict[str, list[float]]) -> None:
    """Print by how much the cases differ from those of the other checkout."""
    for name in [each for each in samples if each + AGAINST in samples]:
        pairs = zip(samples[name], samples[name + AGAINST], strict=True)
        percent = [100 * (one / other - 1) for one, other in pairs]
        low, middle, high = statistics.quantiles(percent, n=4)
        line = {
            "case": f"lua: {name}, against the other checkout",
            "n": REQUESTS * ROUNDS,
            "value": round(middle, 2),
            "quartiles": [round(low, 2), round(high, 2)],
            "unit": "% of a request's CPU",
        }
        print(json.dumps(line))


def main() -> None:
    """Measure all cases and print them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--against", type=Path, metavar="CHECKOUT")
    against = parser.parse_args().against
    if not PROGRAM.exists():
        raise SystemExit(f"skipped: no Envoy at {PROGRAM}")
    if against is not None:
        add_cases_of(against.absolute())
    samples = measure()
    print_differences(samples)
    for name, values in samples.items():
        over = [one - other for one, other in zip(values, samples["empty"], strict=True)]
        line = {
            "case": f"lua: {name}",
            "n": REQUESTS * ROUNDS,
            "value": round(statistics.median(values), 2),
            "over_empty": round(statistics.median(over), 2),
            "unit": "us CPU of Envoy a request",
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
