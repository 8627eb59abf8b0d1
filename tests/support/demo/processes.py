"""Starts, watches and stops the processes of the demo.

Owns process groups, their logs and the promise that nothing is left running: every process is
the leader of a group of its own, and leaving the `Supervisor` ends all groups, newest first. It
must not know what the processes are. Only the main thread may start processes: on Linux a child
is told to die with the thread that started it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from demo.errors import PartFailed

READY_SECONDS = 90.0
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.02
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_TIE = Path(__file__).with_name("tie.py")


@dataclass(slots=True, kw_only=True)
class Process:
    """One started process and where it writes."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        """The process, and the process group of it and its children."""
        return self.popen.pid


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
        self, name: str, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None
    ) -> Process:
        """Starts a process; its output is appended to its log.

        Args:
            env: The whole environment of the process; None means `clean_environment()`.
        """
        log = self.logs / f"{name}.log"
        tie: list[str | Path] = []
        if self.tied and sys.platform == "linux":
            tie = [sys.executable, "-I", "-S", _TIE, str(os.getpid())]
        with log.open("ab") as out, _signals_wait():
            popen = subprocess.Popen(
                [str(part) for part in (*tie, *command)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=dict(clean_environment() if env is None else env),
                start_new_session=True,
            )
            process = Process(name=name, popen=popen, log=log)
            self.processes.append(process)
            if self.started is not None:
                self.started(name, process.pid)
        return process

    def wait_ready(
        self, process: Process, ready: Callable[[], bool], *, seconds: float = READY_SECONDS
    ) -> None:
        """Returns when `ready` says so.

        Raises:
            PartFailed: the process ended before, or `seconds` passed.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            if (status := process.popen.poll()) is not None:
                raise PartFailed(
                    part=process.name, reason=f"ended with status {status}", log=process.log
                )
            if time.monotonic() > deadline:
                raise PartFailed(
                    part=process.name, reason=f"not ready after {seconds:.0f} s", log=process.log
                )
            time.sleep(POLL_SECONDS)

    def finish(self, process: Process, *, seconds: float = READY_SECONDS) -> None:
        """Waits for a process that ends by itself.

        Raises:
            PartFailed: it ended with another status than 0, or not in time.
        """
        try:
            status = process.popen.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            reason = f"not finished after {seconds:.0f} s"
            raise PartFailed(part=process.name, reason=reason, log=process.log) from None
        if status != 0:
            reason = f"ended with status {status}"
            raise PartFailed(part=process.name, reason=reason, log=process.log)
        self.processes.remove(process)

    def stop(self, *processes: Process) -> None:
        """Ends these processes and their children; all are asked before any is waited for."""
        for process in processes:
            signal_group(process.pid, signal.SIGTERM)
        deadline = time.monotonic() + self.grace_seconds
        for process in processes:
            try:
                process.popen.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                signal_group(process.pid, signal.SIGKILL)
                process.popen.wait()
            # children that outlived their parent; a killed one is gone a moment later
            while signal_group(process.pid, signal.SIGKILL) and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
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


def clean_environment(**more: str) -> dict[str, str]:
    """This process's environment without what would lead a child away from the demo.

    That is proxies (everything is on loopback), the user's own `OS_*` and `SCOPEWAY_*` settings,
    and another Python's paths.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy")
        and not name.startswith(("OS_", "SCOPEWAY_", "PYTHON"))
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Sends a signal to a process group; False where it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        return False
    return True


def tail(log: Path, *, lines: int = 25) -> str:
    """The last lines of a log, or "" where there is none."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
