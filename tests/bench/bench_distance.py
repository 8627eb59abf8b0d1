"""One transfer between two sites that are 80 ms apart: python tests/bench/bench_distance.py.

Real Envoys in two network namespaces that packets take 40 ms to cross, each with a control plane
over the same folder of manifests; a download and an upload of 300 MB, with other windows of HTTP/2
between the sites in the same run. Needs root on Linux (`distance/link.py`).
"""

import json
import socket
import statistics
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import report
from distance.link import HERE, THERE, Link, enter_new_namespace, link
from fixtures import REPOSITORY, manifest

from harness.process import Process, until
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.translator.bootstrap import bootstrap, render_bootstrap

ROUND_TRIP = 0.08
SIZE = 300_000_000
ROUNDS = 3
MIB = 1 << 20
VARIANTS = {
    "as configured": {},
    "4 MiB a stream, 16 MiB a connection": {
        "PEER_STREAM_WINDOW": 4 * MIB,
        "PEER_CONNECTION_WINDOW": 16 * MIB,
    },
    "1 MiB a stream": {"PEER_STREAM_WINDOW": MIB},
}
FRONT, PEER, XDS, SERVICE = 18080, 18443, 18000, 18090
"""Ports, in namespaces of the bench's own."""
BLOCK = bytes(1 << 20)


def measure(folder: Path, there: Link, windows: dict[str, int]) -> dict[str, list[float]]:
    """Return Mbit/s of downloads and of uploads."""
    accept = [{"clouds": ["near", "far"]}]
    at = {"address": HERE, "port": FRONT}
    service = {"endpoints": [{"address": "127.0.0.1", "port": SERVICE}]}
    clouds = [
        manifest("near", front=at, services={}),
        manifest(
            "far",
            front={"address": THERE, "port": FRONT},
            peer={"address": THERE, "port": PEER},
            services={"object-store": service},
            accept=accept,
        ),
    ]
    registry = folder / "clouds"
    registry.mkdir()
    for cloud in clouds:
        (registry / f"{cloud.name}.yaml").write_text(json.dumps(to_document(cloud)))
    with ExitStack() as stack:

        def start(name: str, command: list[str]) -> None:
            process = Process(name, command, folder, cwd=REPOSITORY)
            stack.callback(process.kill)
            process.launch()

        start("service", there.command(sys.executable, "-B", __file__, "service"))
        for cloud, wrap in (
            ("near", lambda *command: list(map(str, command))),
            ("far", there.command),
        ):
            state = folder / f"{cloud}.state"
            start(
                f"{cloud}.serve",
                wrap(sys.executable, "-B", __file__, "serve", json.dumps(windows), registry, state),
            )
            config = folder / f"{cloud}.yaml"
            filled = bootstrap(
                cloud=cloud, xds=[("127.0.0.1", XDS)], admin=("unix", f"@bench/{cloud}")
            )
            config.write_text(render_bootstrap(filled))
            envoy = Path(sys.executable).parent / "envoy"
            start(cloud, wrap(envoy, "-c", config, "--concurrency", 1, "--disable-hot-restart"))
        until(_answers, "a request reaches the other site")
        return {
            "download": [_download() for _ in range(ROUNDS)],
            "upload": [_upload() for _ in range(ROUNDS)],
        }


def _head(method: str, length: int) -> bytes:
    lines = (
        f"{method} /object-store/{SIZE if method == 'GET' else ''} HTTP/1.1",
        "Host: front",
        "X-Scope: {object-store:far}",
        f"Content-Length: {length}",
        "Connection: close",
    )
    return "\r\n".join([*lines, "", ""]).encode()


def _answers() -> bool:
    try:
        with socket.create_connection((HERE, FRONT), timeout=5) as client:
            client.sendall(_head("PUT", 0))
            return b" 200 " in client.recv(1 << 16)
    except OSError:
        return False


def _mbit(seconds: float) -> float:
    return SIZE * 8 / 1e6 / seconds


def _download() -> float:
    begin = time.perf_counter()
    received = 0
    with socket.create_connection((HERE, FRONT), timeout=120) as client:
        client.sendall(_head("GET", 0))
        while data := client.recv(1 << 20):
            received += len(data)
    assert received > SIZE, received
    return _mbit(time.perf_counter() - begin)


def _upload() -> float:
    begin = time.perf_counter()
    with socket.create_connection((HERE, FRONT), timeout=120) as client:
        client.sendall(_head("PUT", SIZE))
        for first in range(0, SIZE, len(BLOCK)):
            client.sendall(BLOCK[: SIZE - first])
        assert b" 200 " in client.recv(1 << 16)
    return _mbit(time.perf_counter() - begin)


def service() -> None:
    """Answer so many bytes as the path says, and take any body."""
    listening = socket.create_server(("127.0.0.1", SERVICE), backlog=64)

    def serve(client: socket.socket) -> None:
        reader = client.makefile("rb")
        while first := reader.readline():
            length = 0
            while (line := reader.readline()).strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            while length:
                length -= len(reader.read(min(length, len(BLOCK))))
            size = int(first.split()[1].rpartition(b"/")[2] or 0)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
            for start in range(0, size, len(BLOCK)):
                client.sendall(BLOCK[: size - start])

    while True:
        client, _ = listening.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


def serve(windows: str, registry: str, state: str) -> None:
    """Run a control plane with other windows."""
    from scopeway.control_plane.translator import cluster_templates, http_connection_managers

    for name, size in json.loads(windows).items():
        setattr(http_connection_managers, name, size)  # of peers, for uploads
        setattr(cluster_templates, name, size)  # of clusters, for downloads: has names of its own
    from scopeway.control_plane.cli import main

    sys.argv[1:] = [
        "serve",
        "--registry",
        f"dir:{registry}",
        "--state-dir",
        state,
        "--insecure-peers",
    ]
    sys.argv[0] = "scopeway"
    main()


if __name__ == "__main__":
    if sys.argv[1:2] == ["service"]:
        service()
    elif sys.argv[1:2] == ["serve"]:
        serve(*sys.argv[2:])
    else:
        enter_new_namespace()
        with link(ROUND_TRIP) as other:
            for variant, windows in VARIANTS.items():
                with TemporaryDirectory(prefix="scopeway-bench-") as folder:
                    for what, figures in measure(Path(folder), other, windows).items():
                        case = f"{what} of 300 MB, 80 ms apart, {variant}"
                        report.value(case, statistics.median(figures), "Mbit/s", n=ROUNDS)
