"""The bootstrap: the template filled in with the values of a site."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.envoy import PROGRAM
from scopeway.control_plane.translator.bootstrap import bootstrap, render_bootstrap, template
from scopeway.control_plane.translator.node_setup import PROTOCOL

TEMPLATE = Path(__file__).parents[3] / "envoy" / "bootstrap.yaml"


def made(**more: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "cloud": "cloud-9",
        "xds": [("127.0.0.1", 18000)],
        "admin": ("127.0.0.1", 18001),
    }
    return bootstrap(**(arguments | more))


def control_plane(config: dict[str, Any]) -> dict[str, Any]:
    (cluster,) = config["static_resources"]["clusters"]
    return dict(cluster)


def test_the_installed_package_contains_the_bootstrap_template() -> None:
    assert template() == TEMPLATE.read_text()


def test_the_node_of_a_bootstrap_has_cloud_instance_and_protocol() -> None:
    node = made(instance="two", access_log="/var/log/a")["node"]

    assert (node["id"], node["cluster"]) == ("cloud-9/two", "cloud-9")
    assert node["metadata"]["scopeway"] == {
        "protocol": PROTOCOL,
        "access_log": "/var/log/a",
    }


def test_the_node_of_a_bootstrap_names_the_folder_of_a_collector() -> None:
    node = made(collector="/run/scopeway")["node"]

    assert node["metadata"]["scopeway"]["collector"] == "/run/scopeway"


def test_every_control_plane_is_an_endpoint_of_the_bootstrap() -> None:
    cluster = control_plane(made(xds=[("10.0.0.1", 1), ("::1", 2)]))
    (locality,) = cluster["load_assignment"]["endpoints"]
    sockets = [each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"]]

    assert cluster["type"] == "STATIC"
    assert sockets == [
        {"address": "10.0.0.1", "port_value": 1},
        {"address": "::1", "port_value": 2},
    ]


def test_envoy_resolves_a_control_plane_given_by_name() -> None:
    cluster = control_plane(made(xds=[("10.0.0.1", 1), ("control.example", 2)]))

    resolver = cluster["typed_dns_resolver_config"]["typed_config"]
    assert cluster["type"] == "STRICT_DNS"
    assert (resolver["query_timeout_seconds"], resolver["query_tries"]) == (1, 2)
    assert "typed_dns_resolver_config" not in control_plane(made(xds=[("10.0.0.1", 1)]))


def test_the_admin_interface_can_be_a_private_unix_socket() -> None:
    address = made(admin=("unix", "/run/envoy.sock"))["admin"]["address"]

    assert address == {"pipe": {"path": "/run/envoy.sock", "mode": 0o600}}


@pytest.mark.envoy
@pytest.mark.parametrize("hosts", [["127.0.0.1"], ["127.0.0.1", "localhost"], ["::1"]])
@pytest.mark.parametrize("unix", [True, False])
def test_envoy_accepts_the_bootstrap(tmp_path: Path, hosts: list[str], unix: bool) -> None:
    file = tmp_path / "envoy.yaml"
    file.write_text(
        render_bootstrap(
            bootstrap(
                cloud="cloud-9",
                xds=[(host, 18000) for host in hosts],
                admin=("unix", str(tmp_path / "admin")) if unix else ("127.0.0.1", 0),
            )
        )
    )

    assert validated(file) == ""


@pytest.mark.envoy
def test_envoy_accepts_the_unchanged_template() -> None:
    assert validated(TEMPLATE) == ""


def validated(file: Path) -> str:
    """The reason why Envoy refuses a configuration."""
    done = subprocess.run(
        [PROGRAM, "--mode", "validate", "-c", file], capture_output=True, text=True, check=False
    )
    assert yaml.safe_load(file.read_text())
    return "" if done.returncode == 0 else done.stderr[-2000:]
