"""The program that a user hopes for, with a real Envoy: as it stands, and with other resources."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harness.envoy import Envoy, xds_cluster
from registry_model import free_port

pytestmark = pytest.mark.envoy

GUARD = 30.0
HOPED_FOR = """\
import asyncio
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from scopeway import xds

async def main():
    cache = xds.SnapshotCache()
    cache.set("edge-1", Cluster(name="a"), Cluster(name="b"))
    async with xds.serve(cache, listen="127.0.0.1:18000"):
        await asyncio.to_thread(input)
        cache.set("edge-1", Cluster(name="a"))      # b goes, make before break
        await asyncio.to_thread(input)

asyncio.run(main())
"""
GOOGLES = """\
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

file = descriptor_pb2.FileDescriptorProto(
    name="cluster.proto", package="envoy.config.cluster.v3", syntax="proto3"
)
file.message_type.add(name="Cluster").field.add(name="name", number=1, type=9, label=1)
pool = descriptor_pool.DescriptorPool()
pool.Add(file)
Cluster = message_factory.GetMessageClass(
    pool.FindMessageTypeByName("envoy.config.cluster.v3.Cluster")
)
"""
BYTES = """\
def Cluster(name):
    body = b"\\n" + bytes([len(name)]) + name.encode()
    return xds.resource_from_bytes(xds.CLUSTER, name, body)
"""
IMPORT = "from envoy_data_plane.envoy.config.cluster.v3 import Cluster\n"


def clusters(envoy: Envoy) -> list[str]:
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json
    return sorted(each["cluster"]["name"] for each in dump.get("configs", []))


def wait_for(envoy: Envoy, expected: list[str]) -> None:
    give_up = time.monotonic() + GUARD
    while (found := clusters(envoy)) != expected:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)


@contextmanager
def running(program: str, port: int, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    file = folder / "program.py"
    file.write_text(program.replace("127.0.0.1:18000", f"127.0.0.1:{port}"))
    with subprocess.Popen([sys.executable, file], stdin=subprocess.PIPE, text=True) as server:
        try:
            yield server
        finally:
            server.communicate("\n\n", timeout=GUARD)
    assert server.returncode == 0


@pytest.mark.parametrize("api_type", ["DELTA_GRPC", "GRPC"])
@pytest.mark.parametrize(
    "program",
    [
        pytest.param(HOPED_FOR, id="envoy-data-plane"),
        pytest.param(HOPED_FOR.replace(IMPORT, GOOGLES), id="Google's protobuf"),
        pytest.param(HOPED_FOR.replace(IMPORT, BYTES), id="bytes"),
    ],
)
def test_the_program_serves_two_clusters_and_then_one(
    program: str, api_type: str, tmp_path: Path
) -> None:
    port = free_port()
    config: dict[str, Any] = {
        "node": {"id": "edge-1", "cluster": "edges"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": api_type,
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
            },
            "cds_config": {"ads": {}, "resource_api_version": "V3"},
        },
        "static_resources": {"clusters": [xds_cluster(port)]},
    }
    with running(program, port, tmp_path) as server:
        envoy = Envoy(config, tmp_path)
        try:
            wait_for(envoy, ["a", "b"])
            assert server.stdin is not None
            server.stdin.write("\n")
            server.stdin.flush()
            wait_for(envoy, ["a"])
        finally:
            envoy.stop()
