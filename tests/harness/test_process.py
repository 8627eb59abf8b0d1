import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from demo.state import start_time
from harness.ports import ADDRESS, free_port, listens
from harness.process import Process, ProcessFailed, clean_environment

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
LISTEN = f"import socket, sys; s = socket.create_server(({ADDRESS!r}, int(sys.argv[1])))\n"
PARENT = f"""
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(child.pid, flush=True)
"""

Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start a program in Python; it is killed after the test."""
    started: list[Process] = []

    def launch(program: str, *arguments: object, **options: object) -> Process:
        command = [sys.executable, "-c", program, *arguments]
        process = Process("part", command, tmp_path, **options)  # type: ignore[arg-type]
        started.append(process)
        process.launch()
        return process

    yield launch
    for process in started:
        process.kill()


def await_lines(process: Process, count: int = 1) -> list[str]:
    process.wait_until(lambda: process.log().count("\n") >= count, f"{count} lines are there")
    return process.log().splitlines()


def test_a_restarted_process_appends_to_its_log(start: Start) -> None:
    process = start(SLEEP)
    await_lines(process)
    process.kill()
    assert not process.running

    process.launch()

    assert await_lines(process, 2) == ["here", "here"]


def test_killing_a_process_kills_its_children(start: Start) -> None:
    process = start(PARENT + "import time; time.sleep(600)")
    child = int(await_lines(process)[0])
    assert start_time(child) is not None

    process.kill()

    assert start_time(child) is None


def test_waiting_for_a_process_ends_children_that_outlive_it(start: Start) -> None:
    process = start(PARENT)

    assert process.wait() == 0
    child = int(process.log().split()[0])
    assert start_time(child) is None


def test_the_exit_status_of_a_process_is_known_when_it_has_ended(start: Start) -> None:
    assert start("raise SystemExit(3)").wait() == 3
    process = start(SLEEP)
    await_lines(process)
    assert process.exit_status is None

    assert process.stop() == -signal.SIGTERM


def test_a_process_that_ignores_sigterm_is_killed_after_the_grace_period(start: Start) -> None:
    process = start("import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP)
    await_lines(process)

    assert process.stop(seconds=0.1) == -signal.SIGKILL


def test_waiting_for_ports_ends_when_they_are_open(start: Start) -> None:
    port = free_port()
    start(LISTEN + SLEEP, port).wait_for_ports(port)

    assert listens(port)


def test_a_process_that_ends_before_it_is_ready_is_reported_with_its_log(start: Start) -> None:
    process = start("import sys; print('no disk'); sys.exit(3)")
    with pytest.raises(ProcessFailed) as caught:
        process.wait_until(lambda: False, "ready")

    assert str(caught.value) == "part: ended with status 3 before: ready"
    assert caught.value.__notes__ == ["--- part\nno disk"]


def test_a_process_that_never_becomes_ready_is_reported(start: Start) -> None:
    with pytest.raises(ProcessFailed, match=r"part: not within 0\.1 s: ready"):
        start(SLEEP).wait_until(lambda: False, "ready", seconds=0.1)


def test_a_program_under_test_gets_no_proxies_and_no_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    theirs = [
        "http_proxy",
        "HTTPS_PROXY",
        "OS_CLOUD",
        "SCOPEWAY_REGISTRY",
        "ETCD_NAME",
        "PYTHONPATH",
    ]
    for name in theirs:
        monkeypatch.setenv(name, "theirs")

    environment = clean_environment(OS_CLOUD="ours")

    assert "theirs" not in environment.values()
    assert environment["OS_CLOUD"] == "ours"
    assert environment["PATH"] == os.environ["PATH"]
