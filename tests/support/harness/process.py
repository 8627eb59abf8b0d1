"""A child process that can be killed and started again as it was."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

SECONDS = 30.0
"""After which a test is stuck; none waits so long when all is well."""
POLL = 0.02
LOG_TAIL = 4000


def until(
    condition: Callable[[], object], what: str, *, log: Callable[[], str] | None = None
) -> None:
    """Wait until a condition holds; `what` it is, and the log, are for the failed test."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(
                "\n".join([f"not within {SECONDS:g} s: {what}", log() if log else ""])
            )
        time.sleep(POLL)


class Process:
    """One command with a log; everything a restart needs is in the command."""

    def __init__(
        self, name: str, command: Sequence[object], folder: Path, *, cwd: Path | None = None
    ) -> None:
        self.name = name
        self.command = [str(each) for each in command]
        self.log_file = folder / f"{name}.log"
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended by us since."""
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        assert self._process is None, f"{self.name} runs already"
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for a condition; fail at once where the process has ended."""

        def look() -> object:
            ended = self._process is None or self._process.poll() is not None
            assert not ended, f"{self.name} has ended before: {what}\n{self.tail()}"
            return condition()

        until(look, what, log=self.tail)

    def stop(self) -> int:
        """Ask it to end; return its exit status. Does nothing where it doesn't run."""
        return self._end(subprocess.Popen.terminate)

    def kill(self) -> None:
        """End it without a chance to say good-bye."""
        self._end(subprocess.Popen.kill)

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def pause(self) -> None:
        """Hold it; its connections stay open."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait(self) -> int:
        """Wait until it ends by itself; return its exit status."""
        return self._end(lambda _: None)

    def cpu(self) -> float:
        """Return the CPU time so far, in seconds."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9

    def memory(self) -> int:
        """Return the resident set, in bytes."""
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        """Return the largest resident set so far, in bytes."""
        return self._status("VmHWM")

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def tail(self) -> str:
        """Return the end of its log, for a failed test."""
        return f"--- {self.name}\n{self.log()[-LOG_TAIL:]}"

    def _end(self, how: Callable[[subprocess.Popen[bytes]], None]) -> int:
        if self._process is None:
            return 0
        how(self._process)
        status = self._process.wait(SECONDS)
        self._process = None
        return status

    def _status(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would change the programs under test."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SCOPEWAY_", "OS_", "ETCD_"))
        and not name.lower().endswith("_proxy")
    }
