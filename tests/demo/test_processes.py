import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.errors import PartFailed
from demo.ports import ADDRESS, free_ports, listens
from demo.processes import Process, Supervisor, clean_environment, tail
from demo.state import start_time

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
LISTEN = f"import socket, sys, time; s = socket.create_server(({ADDRESS!r}, int(sys.argv[1])))\n"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(child.pid, flush=True)
time.sleep(600)
"""


def python(supervisor: Supervisor, program: str, *arguments: str) -> Process:
    return supervisor.start("part", [sys.executable, "-c", program, *arguments])


def wait_for_line(supervisor: Supervisor, process: Process) -> str:
    supervisor.wait_ready(process, lambda: process.log.read_text().endswith("\n"))
    return process.log.read_text().split("\n")[0]


def test_leaving_the_supervisor_ends_processes_and_their_children(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path) as supervisor:
        parent = python(supervisor, PARENT)
        child = int(wait_for_line(supervisor, parent))
        assert start_time(child) is not None

    assert start_time(parent.pid) is None
    assert start_time(child) is None


def test_an_error_inside_ends_the_processes_too(tmp_path: Path) -> None:
    started: list[Process] = []

    def interrupted() -> None:
        with Supervisor(logs=tmp_path) as supervisor:
            started.append(python(supervisor, SLEEP))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert start_time(started[0].pid) is None


def test_a_signal_while_a_process_is_being_started_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It runs already when the signal comes, and nobody has been told of it yet."""
    started: list[int] = []

    class Interrupted(subprocess.Popen[bytes]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            started.append(self.pid)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), Supervisor(logs=tmp_path) as supervisor:
        python(supervisor, SLEEP)

    assert [start_time(pid) for pid in started] == [None]


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
    with Supervisor(logs=tmp_path, grace_seconds=0.1) as supervisor:
        process = python(supervisor, stubborn)
        wait_for_line(supervisor, process)

    assert process.popen.returncode == -signal.SIGKILL


def test_wait_ready_returns_once_the_port_is_open(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with Supervisor(logs=tmp_path) as supervisor:
        process = python(supervisor, LISTEN + SLEEP, str(port))
        supervisor.wait_ready(process, lambda: listens(port))

        assert listens(port)


def test_a_process_that_ends_before_it_is_ready_is_reported_with_its_log(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path) as supervisor:
        process = python(supervisor, "import sys; print('no disk'); sys.exit(3)")
        with pytest.raises(PartFailed, match="part: ended with status 3") as caught:
            supervisor.wait_ready(process, lambda: False)

    assert tail(caught.value.log) == "no disk"


def test_a_process_that_never_gets_ready_is_reported(tmp_path: Path) -> None:
    with (
        Supervisor(logs=tmp_path) as supervisor,
        pytest.raises(PartFailed, match="part: not ready after 0 s"),
    ):
        supervisor.wait_ready(python(supervisor, SLEEP), lambda: False, seconds=0.1)


def test_finish_accepts_only_status_0(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path) as supervisor:
        supervisor.finish(python(supervisor, "pass"))
        with pytest.raises(PartFailed, match="ended with status 1"):
            supervisor.finish(python(supervisor, "raise SystemExit(1)"))


def test_released_processes_go_on(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path, tied=False) as supervisor:
        process = python(supervisor, SLEEP)
        supervisor.release()

    try:
        assert process.popen.poll() is None
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.popen.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_processes_die_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from demo.processes import Supervisor
process = Supervisor(logs=Path({str(tmp_path)!r})).start("part", [sys.executable, "-c", {SLEEP!r}])
print(process.pid, flush=True)
time.sleep(600)
"""
    command = [sys.executable, "-c", program]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()

    with Supervisor(logs=tmp_path) as supervisor:
        watch = python(supervisor, SLEEP)
        supervisor.wait_ready(watch, lambda: start_time(child) is None)


def test_started_is_told_of_each_process(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    with Supervisor(
        logs=tmp_path, started=lambda name, pid: told.append((name, pid))
    ) as supervisor:
        process = python(supervisor, SLEEP)

    assert told == [("part", process.pid)]


def test_children_see_no_proxies_and_no_settings_of_the_user(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "OS_CLOUD", "SCOPEWAY_REGISTRY", "PYTHONPATH"):
        monkeypatch.setenv(name, "theirs")

    environment = clean_environment(OS_CLOUD="ours")

    assert "theirs" not in environment.values()
    assert environment["OS_CLOUD"] == "ours"
    assert environment["PATH"] == os.environ["PATH"]
