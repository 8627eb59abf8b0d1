import os
import subprocess
import sys
from pathlib import Path

from demo import state

SLEEP = "import time; print(1, flush=True); time.sleep(600)"


def test_a_recorded_process_that_runs_is_found_and_stopped(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as process:
        state.record(tmp_path, "sleeper", process.pid)
        found = state.running(tmp_path)
        state.stop(found)

        assert [(entry.name, entry.pid) for entry in found] == [("sleeper", process.pid)]
        assert state.running(tmp_path) == []


def test_another_process_with_a_recorded_pid_is_left_alone(tmp_path: Path) -> None:
    state.record(tmp_path, "me", os.getpid())

    assert len(state.running(tmp_path)) == 1
    assert state.running(tmp_path, age=lambda pid: "another time") == []


def test_a_process_that_ended_before_it_was_recorded_is_not_running(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    state.record(tmp_path, "short", process.pid)

    assert state.running(tmp_path) == []


def test_no_process_runs_in_an_empty_folder(tmp_path: Path) -> None:
    assert state.running(tmp_path) == []
