"""The programs in docs/xds.md, unchanged, with real Envoys as clients."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy, xds_cluster
from harness.ports import free_port

pytestmark = pytest.mark.envoy

DOCUMENT = Path(__file__).parents[2] / "docs" / "xds.md"
GUARD = 30.0
ADS = {"ads": {}, "resource_api_version": "V3"}


def bootstrap(port: int, **node: Any) -> dict[str, Any]:
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    return {
        "node": {"id": "site/1", "cluster": "site", **node},
        "dynamic_resources": {"ads_config": ads},
        "static_resources": {"clusters": [xds_cluster(port)]},
    }


def timeouts(envoy: Envoy) -> dict[str, str]:
    """The connect_timeout of each cluster of the xDS server."""
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json
    clusters = [each["cluster"] for each in dump.get("configs", [])]
    return {each["name"]: each["connect_timeout"] for each in clusters}


def load(envoy: Envoy) -> str:
    """The value of the runtime key of the xDS server."""
    entries: dict[str, Any] = envoy.admin("/runtime").json["entries"]
    return str(entries.get("load", {}).get("final_value", ""))


def refused(envoy: Envoy) -> bool:
    return "is of no kind that is served" in envoy.log()


def wait_for(look: Callable[[Envoy], object], envoy: Envoy, expected: object) -> None:
    give_up = time.monotonic() + GUARD
    while (found := look(envoy)) != expected:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)


@contextmanager
def run(number: int, folder: Path) -> Iterator[tuple[int, Callable[[], None]]]:
    """Run a program of the document; yield its port and a function that presses Enter."""
    program = DOCUMENT.read_text().split("```python\n")[number].split("```")[0]
    port = free_port()
    assert "127.0.0.1:18000" in program
    file = folder / "program.py"
    file.write_text(program.replace("127.0.0.1:18000", f"127.0.0.1:{port}"))
    with subprocess.Popen(
        [sys.executable, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None

        def enter() -> None:
            assert server.stdin is not None
            server.stdin.write("\n")
            server.stdin.flush()

        try:
            server.stdout.readline()  # it asks for the first Enter
            yield port, enter
        finally:
            server.communicate("\n\n", timeout=GUARD)
    assert server.returncode == 0


def test_the_program_serves_two_resources_and_changes_one(tmp_path: Path) -> None:
    with run(1, tmp_path) as (port, enter):
        config = bootstrap(port)
        config["dynamic_resources"]["cds_config"] = ADS
        envoy = Envoy(config, tmp_path)
        try:
            wait_for(timeouts, envoy, {"a": "5s", "b": "5s"})
            enter()
            wait_for(timeouts, envoy, {"a": "9s", "b": "5s"})
        finally:
            envoy.stop()


def test_the_second_program_serves_each_kind_of_node_its_own(tmp_path: Path) -> None:
    layers = [{"name": "flags", "rtds_layer": {"name": "flags", "rtds_config": ADS}}]
    with run(2, tmp_path) as (port, enter), ExitStack() as envoys:

        def start(kind: str) -> Envoy:
            config = bootstrap(port, metadata={"kind": kind})
            envoy = Envoy({**config, "layered_runtime": {"layers": layers}}, tmp_path, kind)
            envoys.callback(envoy.stop)
            return envoy

        edge, worker, other = start("edge"), start("worker"), start("other")
        wait_for(load, edge, "10")
        wait_for(load, worker, "20")
        enter()
        wait_for(load, edge, "15")
        assert load(worker) == "20"
        wait_for(refused, other, True)
