"""What processes use of the machine."""

import time
from collections.abc import Sequence
from pathlib import Path


def cpu(pid: int) -> float:
    """Return the CPU time of a process so far, in seconds."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9


def memory(pid: int) -> int:
    """Return the resident set of a process, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (each for each in status.splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def await_idle(pid: int) -> None:
    """Wait until a process has nothing to do."""
    before = -1.0
    while (now := cpu(pid)) - before > 0.02:
        before = now
        time.sleep(0.2)


def percentile(values: Sequence[float], percent: int) -> float:
    """Return a percentile of some samples."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
