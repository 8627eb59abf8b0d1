"""The program in docs/xds.md, run as it stands, with a real Envoy as its client."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from harness.envoy import Envoy
from registry_model import free_port

pytestmark = pytest.mark.envoy

DOCUMENT = Path(__file__).parents[2] / "docs" / "xds.md"
GUARD = 30.0


def bootstrap(port: int) -> dict[str, Any]:
    endpoint = {"address": {"socket_address": {"address": "127.0.0.1", "port_value": port}}}
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        "@type": f"type.googleapis.com/{options}",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    cluster = {
        "name": "xds",
        "load_assignment": {
            "cluster_name": "xds",
            "endpoints": [{"lb_endpoints": [{"endpoint": endpoint}]}],
        },
        "typed_extension_protocol_options": {options: http2},
    }
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"}}],
    }
    cds = {"ads": {}, "resource_api_version": "V3"}
    return {
        "node": {"id": "site/1", "cluster": "site"},
        "dynamic_resources": {"ads_config": ads, "cds_config": cds},
        "static_resources": {"clusters": [cluster]},
    }


def timeouts(envoy: Envoy) -> dict[str, str]:
    """The connect_timeout of each cluster that came over xDS."""
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json
    clusters = [each["cluster"] for each in dump.get("configs", [])]
    return {each["name"]: each["connect_timeout"] for each in clusters}


def wait_for(envoy: Envoy, expected: dict[str, str]) -> None:
    give_up = time.monotonic() + GUARD
    while (found := timeouts(envoy)) != expected:
        assert time.monotonic() < give_up, found
        time.sleep(0.02)


def test_the_program_serves_two_resources_and_changes_one(tmp_path: Path) -> None:
    program = DOCUMENT.read_text().split("```python\n")[1].split("```")[0]
    port = free_port()
    assert "127.0.0.1:18000" in program
    file = tmp_path / "program.py"
    file.write_text(program.replace("127.0.0.1:18000", f"127.0.0.1:{port}"))
    with subprocess.Popen(
        [sys.executable, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        envoy = Envoy(bootstrap(port), tmp_path)
        try:
            wait_for(envoy, {"a": "5s", "b": "5s"})
            assert server.stdin is not None
            server.stdin.write("\n")
            server.stdin.flush()
            wait_for(envoy, {"a": "9s", "b": "5s"})
        finally:
            envoy.stop()
            server.communicate("\n\n", timeout=GUARD)
    assert server.returncode == 0
