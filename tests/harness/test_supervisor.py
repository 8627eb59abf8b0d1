import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from demo.state import start_time
from harness.process import Process, ProcessFailed
from harness.supervisor import Supervisor

SLEEP = "import time; print('here', flush=True); time.sleep(600)"
PARENT = f"""
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}])
print(child.pid, flush=True)
time.sleep(600)
"""


def python(supervisor: Supervisor, program: str, *arguments: str) -> Process:
    return supervisor.start("part", [sys.executable, "-c", program, *arguments])


def first_line(process: Process) -> str:
    process.wait_until(lambda: process.log().endswith("\n"), "a line is there")
    return process.log().split("\n")[0]


def test_leaving_the_supervisor_ends_its_processes_and_their_children(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path) as supervisor:
        parent = python(supervisor, PARENT)
        pids = [parent.pid, int(first_line(parent))]
        assert None not in [start_time(pid) for pid in pids]

    assert [start_time(pid) for pid in pids] == [None, None]


def test_an_error_inside_the_supervisor_ends_its_processes(tmp_path: Path) -> None:
    started: list[int] = []

    def interrupted() -> None:
        with Supervisor(logs=tmp_path) as supervisor:
            started.append(python(supervisor, SLEEP).pid)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert start_time(started[0]) is None


def test_a_signal_during_the_start_of_a_process_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process runs already, but the supervisor does not know it yet."""
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
        pid = process.pid
        first_line(process)

    assert start_time(pid) is None


def test_finish_accepts_only_exit_status_0(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path) as supervisor:
        supervisor.finish(python(supervisor, "pass"))
        with pytest.raises(ProcessFailed, match="ended with status 1"):
            supervisor.finish(python(supervisor, "raise SystemExit(1)"))

        assert supervisor.processes == []


def test_a_process_that_does_not_finish_in_time_is_ended_with_the_others(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path) as supervisor:
        process = python(supervisor, SLEEP)
        pid = process.pid
        with pytest.raises(ProcessFailed, match=r"part: not finished after 0\.1 s"):
            supervisor.finish(process, seconds=0.1)

    assert start_time(pid) is None


def test_released_processes_keep_running(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path, tied=False) as supervisor:
        process = python(supervisor, SLEEP)
        supervisor.release()

    assert process.exit_status is None
    process.kill()


def test_released_processes_have_a_session_of_their_own(tmp_path: Path) -> None:
    with Supervisor(logs=tmp_path, tied=False) as supervisor:
        process = python(supervisor, SLEEP)

        assert os.getsid(process.pid) == process.pid


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ties a child to its parent")
def test_processes_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from harness.supervisor import Supervisor
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
        watch.wait_until(lambda: start_time(child) is None, "the child of the killed one is gone")


def test_the_callback_for_started_processes_gets_name_and_pid(tmp_path: Path) -> None:
    told: list[tuple[str, int]] = []
    with Supervisor(
        logs=tmp_path, started=lambda name, pid: told.append((name, pid))
    ) as supervisor:
        pid = python(supervisor, SLEEP).pid

    assert told == [("part", pid)]
