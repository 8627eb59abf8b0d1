"""Starts, watches and stops many processes, and leaves none running.

Leaving a `Supervisor` ends all its processes with their children, newest first. On Linux they also
end when this program is killed. So only the main thread may start processes: a child dies with the
thread that started it.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.process import GRACE_SECONDS, Process, ProcessFailed

READY_SECONDS = 90.0
"""How long a process may take to become ready, or to finish its work."""
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_TIE = Path(__file__).with_name("die_with_parent.py")


@dataclass(slots=True, kw_only=True)
class Supervisor:
    """Owns the processes of one run; leaving it as a context manager stops them all."""

    logs: Path
    """An existing folder; each process writes `<name>.log` there."""
    tied: bool = True
    """Whether processes die with this one even where it is killed (Linux)."""
    started: Callable[[str, int], None] | None = None
    """Told the name and number of each process as soon as it runs."""
    grace_seconds: float = GRACE_SECONDS
    """How long a process has to end by itself before it is killed."""
    processes: list[Process] = field(default_factory=list)
    """What is running or has ended unasked, oldest first."""

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops everything that is still in `processes`."""
        self.stop_all()

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Process:
        """Starts a process, as `Process` takes it; its output is appended to its log."""
        tie: list[str | Path] = []
        if self.tied and sys.platform == "linux":
            tie = [sys.executable, "-I", "-S", _TIE, str(os.getpid())]
        process = Process(name, [*tie, *command], self.logs, cwd=cwd, env=env, own_session=True)
        with _signals_wait():
            process.launch()
            self.processes.append(process)
            if self.started is not None:
                self.started(name, process.pid)
        return process

    def finish(self, process: Process, *, seconds: float = READY_SECONDS) -> None:
        """Waits for a process that ends by itself.

        Raises:
            ProcessFailed: it ended with another status than 0, or not in time.
        """
        status = process.wait(seconds=seconds)
        self.processes.remove(process)
        if status != 0:
            raise ProcessFailed(process, f"ended with status {status}")

    def stop(self, *processes: Process) -> None:
        """Ends these processes and their children; all are asked before any is waited for."""
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + self.grace_seconds
        for process in processes:
            process.end(seconds=max(0.0, deadline - time.monotonic()))
            if process in self.processes:
                self.processes.remove(process)

    def stop_all(self) -> None:
        """Ends everything, newest first."""
        self.stop(*reversed(self.processes))

    def release(self) -> None:
        """Forgets all processes: they go on when this program ends."""
        self.processes.clear()


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Lets what would end this program wait until a process that is being started is known.

    Otherwise that would run on, and write into the folder that is being removed.
    """
    came: list[int] = []
    before = {
        number: handler
        for number in ENDING_SIGNALS
        if callable(handler := signal.getsignal(number))  # else it ends, or ignores, at once
    }
    for number in before:
        signal.signal(number, lambda received, _frame: came.append(received))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for received in came:
            signal.raise_signal(received)
