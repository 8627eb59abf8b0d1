"""An attacker's process that gets half a core, and the honest client that is measured beside it."""

import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

Figures = Mapping[str, float]

SHARE = 0.5
"""Of a core, for the attacker's process."""
SLICE = 0.02
"""Seconds: how often its share is looked at."""
_TICK = os.sysconf("SC_CLK_TCK")


@contextmanager
def attacker(*command: object) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program that prints `ready` once its attack is under way; end it after.

    Yields:
        The process, whose standard output goes on after that line.
    """
    process = subprocess.Popen(
        [sys.executable, "-B", *map(str, command)], stdout=subprocess.PIPE, text=True
    )
    try:
        with held_back(process.pid):
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n", f"the attacker said {line!r}"
            yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def held_back(pid: int) -> Iterator[None]:
    """Stop a child process whenever it has used more than its share of a core."""
    ended = threading.Event()
    throttle = threading.Thread(target=_hold_back, args=(pid, ended))
    throttle.start()
    try:
        yield
    finally:
        ended.set()
        throttle.join()


def _hold_back(pid: int, ended: threading.Event) -> None:
    began, used = time.monotonic(), _cpu(pid)
    while not ended.wait(SLICE):
        over = (_cpu(pid) - used) / SHARE - (time.monotonic() - began)
        if over > 0:
            os.kill(pid, signal.SIGSTOP)
            ended.wait(over)
            os.kill(pid, signal.SIGCONT)


def _cpu(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def in_folder(measure: Callable[[Path], Figures]) -> Callable[[], Figures]:
    """Return a measurement that gets a fresh folder for all that it starts."""

    def measured() -> Figures:
        with TemporaryDirectory(prefix="scopeway-bench-") as folder:
            return measure(Path(folder))

    return measured


def timed(ask: Callable[[], bool], count: int, pause: float) -> list[float]:
    """Return the milliseconds of requests one after the other; one that failed took for ever."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        answered = ask()
        times.append((time.perf_counter() - began) * 1000 if answered else float("inf"))
        time.sleep(pause)
    return times


def compared(what: str, alone: Sequence[float], beside: Sequence[float]) -> dict[str, float]:
    """Return the figures of an honest client alone and beside an attack."""
    figures = {}
    for when, times in (("alone", alone), ("beside", beside)):
        ordered = sorted(times)
        figures[f"{what} {when}, p50 ms"] = round(statistics.median(ordered), 2)
        figures[f"{what} {when}, p99 ms"] = round(ordered[len(ordered) * 99 // 100], 2)
    return figures
