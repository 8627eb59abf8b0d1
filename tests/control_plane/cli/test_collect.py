"""`scopeway collect` as a process."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness.collector import start_collector
from harness.http import send
from harness.ports import free_port, free_ports
from scopeway.control_plane.cli.collect import collect as command

COMMAND = [sys.executable, "-m", "scopeway.control_plane"]


@pytest.fixture
def folder() -> Iterator[Path]:
    # a socket's path has at most 107 bytes, which those of pytest's folders may exceed
    with TemporaryDirectory(prefix="scopeway") as name:
        (made := Path(name) / "run").mkdir()
        yield made


def collect(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, "collect", "cloud-1", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def read(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as response:
        text: str = response.read().decode()
        return text


def test_a_collector_shows_its_metrics_and_ends_at_sigterm(folder: Path) -> None:
    port = free_port()
    process = start_collector("cloud-1", folder, "--admin-listen", f"127.0.0.1:{port}")
    try:
        process.wait_for_ports(port)
        health = read(port, "/readyz")
        metrics = read(port, "/metrics")
        status = json.loads(read(port, "/status"))
    finally:
        process.stop()

    assert health == "ready\n"
    assert "scopeway_collector_requests_under_way 0.0" in metrics
    assert "scopeway_collector_held_bytes_max 0.0" in metrics
    assert status["cloud"] == "cloud-1"
    assert not (folder / "collector.sock").exists()


def test_a_collector_serves_health_and_metrics_each_alone(folder: Path) -> None:
    health, metrics = free_ports(2)
    options = ("--health-listen", f"0.0.0.0:{health}", "--metrics-listen", f"0.0.0.0:{metrics}")
    process = start_collector("cloud-1", folder, *options)
    try:
        process.wait_for_ports(health, metrics)
        pages = {
            (name, path): send(port, path).status
            for name, port in (("health", health), ("metrics", metrics))
            for path in ("/healthz", "/readyz", "/metrics", "/status")
        }
    finally:
        process.stop()

    assert {each for each, status in pages.items() if status == 200} == {
        ("health", "/healthz"),
        ("health", "/readyz"),
        ("metrics", "/metrics"),
    }
    assert set(pages.values()) == {200, 404}


@pytest.mark.parametrize("envoy", [False, True])
def test_a_collector_says_that_no_envoy_is_in_its_folder(folder: Path, envoy: bool) -> None:
    if envoy:
        (folder / "collect.sock").touch()
    process = start_collector("cloud-1", folder)
    try:
        process.wait_until(lambda: "listens in" in process.log(), "it is ready")
    finally:
        process.stop()

    assert (f"no Envoy listens in {folder} yet" in process.log()) is not envoy


def test_a_second_collector_in_a_folder_is_refused(folder: Path) -> None:
    process = start_collector("cloud-1", folder)
    try:
        second = collect("--socket-dir", folder)
    finally:
        process.stop()

    assert second.returncode == 1
    assert second.stderr.endswith(
        f"scopeway: {folder}/collector.sock: another collector listens there; stop it, "
        "or name another folder\n"
    )


def test_the_socket_of_a_killed_collector_is_replaced(folder: Path) -> None:
    path = folder / "collector.sock"
    start_collector("cloud-1", folder).kill()
    before = path.stat().st_mtime_ns

    process = start_collector("cloud-1", folder)
    try:
        process.wait_until(lambda: path.stat().st_mtime_ns != before, "a new socket is there")
    finally:
        process.stop()

    assert not path.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--admin-listen", "0.0.0.0:0"], "could read all metrics over plain HTTP"),
        (["--envoy-user", "no-such-user"], "no user 'no-such-user' on this machine"),
        (["--deadline", "0"], "Invalid value for '--deadline'"),
    ],
)
def test_an_option_that_cannot_be_used_is_an_error(
    folder: Path, arguments: list[str], sentence: str
) -> None:
    outcome = collect("--socket-dir", folder, *arguments)

    assert outcome.returncode != 0
    assert sentence in outcome.stderr


def test_other_commands_do_not_load_the_libraries_of_the_collector() -> None:
    code = (
        "import sys\n"
        "from scopeway.control_plane.cli import cli\n"
        "import scopeway.control_plane.runtime.app\n"
        "found = {'httptools', 'uvloop', 'msgspec'} & sys.modules.keys()\n"
        "sys.exit(str(found) if found else 0)\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ
    )

    assert outcome.stderr == ""
    assert outcome.returncode == 0


def test_the_unit_for_systemd_uses_options_that_there_are() -> None:
    unit = Path(__file__).parents[3] / "deploy/systemd/scopeway-collect.service"
    (start,) = [line for line in unit.read_text().splitlines() if line.startswith("ExecStart=")]
    words = start.removeprefix("ExecStart=").split()
    known = {name for each in command.params for name in each.opts}

    assert words[1:3] == ["collect", "cloud-1"]
    assert {word for word in words if word.startswith("--")} <= known
