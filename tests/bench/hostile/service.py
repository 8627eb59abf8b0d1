"""Services and name servers that behave badly: what an honest client notices, as figures.

Each of `CASES` starts its own control plane and Envoys, and returns name to figure: milliseconds,
MiB or counts, as the name says.
"""

import random
import socket
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

from hostile.attacker import in_folder

from harness.dns import NameServer
from harness.fleet import Fleet, manifest
from harness.http import Connection, send
from harness.services import at
from scopeway.control_plane.clouds.addresses import LOOPBACK

SILENT_CLOUDS = 200
SAMPLES = 300
TRIES = 150
IDLE = 0.1
"""Seconds after which the service closes a connection; clients ask just then."""
JITTER = 0.0015


def silent_dns(folder: Path) -> dict[str, float]:
    """Measure an honest client beside first uses of clouds whose name servers are silent."""
    names = [f"cloud-{number}.silent.test" for number in range(SILENT_CLOUDS)]
    with (
        closing(NameServer(folder)) as server,
        closing(Fleet(folder, direct=(*LOOPBACK, *names))) as all_,
    ):
        all_.name_server = server
        server.silent.update(names)
        port = all_.echo("glance").port
        accept = [{"clouds": ["cloud-1"]}]
        image = {"image": {"endpoints": [at(port)]}}
        all_.control_plane.put(
            *(
                manifest(
                    f"silent-{number}",
                    services={"image": {"endpoints": [{"address": name, "port": port}]}},
                    accept=accept,
                )
                for number, name in enumerate(names)
            ),
            *(
                manifest(f"{kind}-{number}", services=image, accept=accept)
                for kind in ("alone", "beside")
                for number in range(SAMPLES)
            ),
        )
        begin = time.perf_counter()
        own = {
            "image": image["image"],
            "compute": {"endpoints": [{"address": names[0], "port": 1}]},
        }
        cloud = all_.site("cloud-1", services=own)
        assert cloud.front is not None
        front = cloud.front.port
        send(front, "/image/v2")
        figures = {"start until the first answer ms": 1000 * (time.perf_counter() - begin)}
        memory = all_.envoys["cloud-1"].memory()
        figures |= _uses(front, "alone")

        def ask(number: int) -> float:
            begin = time.perf_counter()
            response = send(front, "/image/v2", [("X-Scope", f"{{image:silent-{number}}}")])
            assert response.status == 503, response.body
            return 1000 * (time.perf_counter() - begin)

        with ThreadPoolExecutor(50) as pool:
            waits = pool.map(ask, range(SILENT_CLOUDS))
            figures |= _uses(front, "beside")
            figures["longest wait for a silent name server ms"] = max(waits)
        grown = all_.envoys["cloud-1"].memory() - memory
        return {**figures, "growth of Envoy MiB": grown / (1 << 20)}


def idle_closes(folder: Path) -> dict[str, float]:
    """Count the failed reads, and the writes that arrived twice, at a service that closes."""
    figures: dict[str, float] = {}
    with closing(Fleet(folder)) as all_, closing(socket.create_server(("127.0.0.1", 0))) as service:
        seen: list[str] = []
        Thread(target=_serve, args=(service, seen), daemon=True).start()
        image = {"image": {"endpoints": [at(service.getsockname()[1])]}}
        accept = [{"clouds": ["cloud-1"]}]
        all_.site("peer", services=image, accept=accept)
        all_.control_plane.put(manifest("direct", services=image, accept=accept))
        cloud = all_.site("cloud-1", services=image)
        assert cloud.front is not None
        ways = {"own": "cloud-1", "direct": "direct", "peer": "peer", "either": "direct|peer"}
        for way, clouds in ways.items():
            for method in ("GET", "POST"):
                seen.clear()
                failed = _ask_when_idle(cloud.front.port, clouds, method)
                figures[f"{way}: failed {method}s of {TRIES}"] = failed
                if method == "POST":
                    figures[f"{way}: POSTs that arrived twice"] = len(seen) - len(set(seen))
    return figures


def _uses(front: int, kind: str) -> dict[str, float]:
    first, later = [], []
    with Connection(front) as connection:
        for number in range(SAMPLES):
            scope = [("X-Scope", f"{{image:{kind}-{number}}}")]
            for samples in (first, later):
                begin = time.perf_counter()
                response = connection.send("/image/v2", scope)
                samples.append(1000 * (time.perf_counter() - begin))
                assert response.status == 200, response.body
    found = {}
    for what, samples in (("first use", first), ("later use", later)):
        for percentile, pick in _PERCENTILES.items():
            found[f"{what} {kind} {percentile} ms"] = pick(sorted(samples))
    return found


_PERCENTILES: dict[str, Callable[[list[float]], float]] = {
    "p50": statistics.median,
    "p99": lambda samples: samples[len(samples) * 99 // 100],
}


def _ask_when_idle(front: int, clouds: str, method: str) -> int:
    failed = 0
    with Connection(front) as connection:
        for number in range(TRIES):
            headers = [("X-Scope", f"{{image:{clouds}}}"), ("X-Number", str(number))]
            failed += connection.send("/image/v2", headers, method=method).status != 200
            wanted = time.perf_counter() + IDLE + random.uniform(-JITTER, JITTER)
            while time.perf_counter() < wanted:
                time.sleep(0.0002)
    return failed


def _serve(service: socket.socket, seen: list[str]) -> None:
    def answer(connection: socket.socket) -> None:
        connection.settimeout(IDLE)
        with connection, suppress(OSError):
            text = b""
            while True:
                while b"\r\n\r\n" not in text:
                    received = connection.recv(1 << 16)
                    if not received:
                        return
                    text += received
                head, _, text = text.partition(b"\r\n\r\n")
                numbers = [line for line in head.lower().split(b"\r\n") if b"x-number" in line]
                seen.extend(line.decode() for line in numbers)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")

    with suppress(OSError):
        while True:
            Thread(target=answer, args=(service.accept()[0],), daemon=True).start()


CASES = {
    "silent name servers": in_folder(silent_dns),
    "idle connections that close": in_folder(idle_closes),
}
