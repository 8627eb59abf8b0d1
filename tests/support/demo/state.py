"""What `make up` leaves behind so that `make down` ends it: the processes, by number and age.

A process number alone isn't enough to kill by: after a restart of the machine it may be somebody
else's. So the time at which each process started is recorded beside it.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.process import GRACE_SECONDS, POLL_SECONDS, signal_group

JOURNAL = "processes.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """One process of a running demo."""

    name: str
    pid: int
    """Also of its group."""
    started: str
    """What `start_time` said, an opaque text."""


def record(folder: Path, name: str, pid: int) -> None:
    """Writes a process down at once, so that it is found after any end of this program."""
    started = start_time(pid) or ""
    with (folder / JOURNAL).open("a") as journal:
        journal.write(json.dumps({"name": name, "pid": pid, "started": started}) + "\n")


def recorded(folder: Path) -> list[Recorded]:
    """The processes that were written down, oldest first; none where there is no journal."""
    try:
        lines = (folder / JOURNAL).read_text().splitlines()
    except FileNotFoundError:
        return []
    return [Recorded(**json.loads(line)) for line in lines]


def running(folder: Path, *, age: Callable[[int], str | None] | None = None) -> list[Recorded]:
    """Those that still run and are the ones that were recorded.

    Args:
        age: Tells when a process started; None asks the system.
    """
    ask = start_time if age is None else age
    return [process for process in recorded(folder) if ask(process.pid) == process.started != ""]


def stop(processes: list[Recorded]) -> None:
    """Ends these processes and their children, newest first."""
    for process in reversed(processes):
        signal_group(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    for process in reversed(processes):
        while start_time(process.pid) == process.started and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        signal_group(process.pid, signal.SIGKILL)


def start_time(pid: int) -> str | None:
    """When a process started, or None where it doesn't run (or is a zombie)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            # the command name stands in parentheses and may hold anything
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return None
        state, ticks_since_boot = fields[0], fields[19]
        return None if state == "Z" else f"{_boot_id()}/{ticks_since_boot}"
    command = ["ps", "-o", "lstart=", "-p", str(pid)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return ""
