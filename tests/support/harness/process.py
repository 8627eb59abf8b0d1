"""A child process that can be killed and started again as it was.

It leads a process group of its own, so that its children end with it.
"""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from harness.ports import all_listen

SECONDS = 30.0
"""After which a process is stuck; none takes so long when all is well."""
GRACE_SECONDS = 5.0
"""How long killed children may take to be gone."""
POLL_SECONDS = 0.02
TAIL_LINES = 25


class ProcessFailed(Exception):
    """A process ended, or did not become ready or end in time; its last output is a note."""

    def __init__(self, process: "Process", reason: str) -> None:
        super().__init__(f"{process.name}: {reason}")
        self.process = process
        self.add_note(process.tail())


def until(
    condition: Callable[[], object], what: str, *, log: Callable[[], str] | None = None
) -> None:
    """Wait until a condition holds; `what` it is, and the log, are for the failed test."""
    if not _comes_true(condition, SECONDS):
        raise AssertionError("\n".join([f"not within {SECONDS:g} s: {what}", log() if log else ""]))


class Process:
    """One command with a log; everything a restart needs is in the command."""

    def __init__(
        self,
        name: str,
        command: Sequence[object],
        folder: Path,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        own_session: bool = False,
    ) -> None:
        """Start nothing yet.

        Args:
            name: Of the process in errors, and of its log.
            command: Program and arguments.
            folder: Gets the log, to which standard output and standard error are appended.
            cwd: Where it works; None is the folder of this process.
            env: The whole environment of the process; None means `clean_environment()`.
            own_session: Whether it has no terminal, and so outlives the one of this process.
        """
        self.name = name
        self.command = [str(each) for each in command]
        self.log_file = folder / f"{name}.log"
        self.output_file = self.log_file
        """Where standard output goes, if not to the log."""
        self.cwd = cwd
        self.env = env
        self._own_session = own_session
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether it was started, and not ended by us since."""
        return self._process is not None

    @property
    def exit_status(self) -> int | None:
        """The exit status of one that ended by itself, or minus the signal; None if it runs."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.poll()

    @property
    def pid(self) -> int:
        """The process, and the process group of it and its children."""
        assert self._process is not None, f"{self.name} does not run"
        return self._process.pid

    def launch(self) -> None:
        """Start it, and wait for nothing."""
        assert self._process is None, f"{self.name} runs already"
        with self.log_file.open("ab") as log, self.output_file.open("ab") as output:
            self._process = subprocess.Popen(
                self.command,
                cwd=self.cwd,
                env=dict(clean_environment() if self.env is None else self.env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=self._own_session,
                process_group=None if self._own_session else 0,
            )

    def wait_until(
        self, condition: Callable[[], object], what: str, *, seconds: float = SECONDS
    ) -> None:
        """Wait for a condition; `what` it is, is for the error.

        Raises:
            ProcessFailed: the process ended before, or `seconds` passed.
        """

        def look() -> object:
            if (status := self.exit_status) is not None:
                raise ProcessFailed(self, f"ended with status {status} before: {what}")
            return condition()

        if not _comes_true(look, seconds):
            raise ProcessFailed(self, f"not within {seconds:g} s: {what}")

    def wait_for_ports(self, *ports: int, seconds: float = SECONDS) -> None:
        """Wait until somebody accepts connections on each of these ports; as `wait_until`."""
        what = f"port {', '.join(map(str, ports))} is open"
        self.wait_until(lambda: all_listen(ports), what, seconds=seconds)

    def stop(self, *, seconds: float = SECONDS) -> int:
        """Ask it to end; return its exit status. Does nothing where it doesn't run.

        After `seconds` it is killed, and its status is minus that signal.
        """
        self.terminate()
        return self.end(seconds=seconds)

    def kill(self) -> None:
        """End it without a chance to say good-bye."""
        self.end(seconds=0)

    def terminate(self) -> None:
        """Ask it and its children to end, and wait for nothing."""
        if self._process is not None:
            signal_group(self.pid, signal.SIGTERM)

    def end(self, *, seconds: float) -> int:
        """Wait until it ends, for `seconds`; then kill it. Its children end with it in any case."""
        if self._process is None:
            return 0
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            signal_group(self.pid, signal.SIGKILL)
        return self._gone()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it and its children."""
        signal_group(self.pid, number)

    def pause(self) -> None:
        """Hold it; its connections stay open."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def wait(self, *, seconds: float = SECONDS) -> int:
        """Wait until it ends by itself; return its exit status.

        Raises:
            ProcessFailed: it runs on after `seconds`.
        """
        if self._process is None:
            return 0
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(self, f"not finished after {seconds:g} s") from None
        return self._gone()

    def cpu(self) -> float:
        """Return the CPU time so far, in seconds."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(each.read_text().split()[0]) for each in tasks) / 1e9

    def memory(self) -> int:
        """Return the resident set, in bytes."""
        return self._of_proc("VmRSS")

    def peak_memory(self) -> int:
        """Return the largest resident set so far, in bytes."""
        return self._of_proc("VmHWM")

    def log(self) -> str:
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def tail(self) -> str:
        """Return the end of its log, for a failed test."""
        return f"--- {self.name}\n{tail(self.log_file)}"

    def _gone(self) -> int:
        """End the children of one that has ended, or is about to; return its exit status."""
        assert self._process is not None
        status = self._process.wait()
        deadline = time.monotonic() + GRACE_SECONDS
        # a killed child is gone a moment later
        while signal_group(self.pid, signal.SIGKILL) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)
        self._process = None
        return status

    def _of_proc(self, field: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        (line,) = (each for each in status.splitlines() if each.startswith(f"{field}:"))
        return int(line.split()[1]) * 1024


def clean_environment(**more: str) -> dict[str, str]:
    """Return this process's environment without what would change the programs that are started.

    That is proxies (everything is on loopback), the user's own settings of Scopeway, OpenStack and
    etcd, and another Python's paths.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SCOPEWAY_", "OS_", "ETCD_", "PYTHON"))
        and not name.lower().endswith("_proxy")
    }
    return kept | {"PYTHONUNBUFFERED": "1"} | more


def _comes_true(condition: Callable[[], object], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def signal_group(pid: int, number: signal.Signals) -> bool:
    """Send a signal to a process group; return False where it is gone."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):  # macOS refuses a group of zombies
        return False
    return True


def tail(log: Path, *, lines: int = TAIL_LINES) -> str:
    """Return the last lines of a log, or "" where there is none."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])
