"""`scopeway bootstrap`: what a site's Envoy is started with."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness.envoy import PROGRAM


@pytest.mark.envoy
@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--xds", "10.0.0.1:18000", "--xds", "[fd00::1]:18000"),
        ("--xds", "control-plane.example:18000", "--instance", "second"),
        ("--admin", "unix:envoy.sock", "--access-log", "/dev/null"),
    ],
    ids=" ".join,
)
def test_envoy_takes_what_is_printed(
    scopeway: Callable[..., Any], tmp_path: Path, options: tuple[str, ...]
) -> None:
    outcome = scopeway("bootstrap", "cloud-1", *options)
    file = tmp_path / "envoy.yaml"
    file.write_text(outcome.out)
    command = [str(PROGRAM), "--mode", "validate", "-c", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    assert (outcome.status, outcome.err) == (0, "")
    assert done.returncode == 0, done.stderr
    assert "OK" in done.stdout


def test_it_names_the_cloud_and_every_control_plane(scopeway: Callable[..., Any]) -> None:
    outcome = scopeway(
        *("bootstrap", "cloud-1", "--instance", "b", "--admin", "127.0.0.1:19001"),
        *("--xds", "10.0.0.1:18000", "--xds", "10.0.0.2:18001"),
    )
    printed = yaml.safe_load(outcome.out)
    (cluster,) = printed["static_resources"]["clusters"]
    (locality,) = cluster["load_assignment"]["endpoints"]

    assert (printed["node"]["id"], printed["node"]["cluster"]) == ("cloud-1/b", "cloud-1")
    assert [each["endpoint"]["address"]["socket_address"] for each in locality["lb_endpoints"]] == [
        {"address": "10.0.0.1", "port_value": 18000},
        {"address": "10.0.0.2", "port_value": 18001},
    ]
    assert printed["admin"]["address"] == {
        "socket_address": {"address": "127.0.0.1", "port_value": 19001}
    }
