"""A command at a terminal of its own, as people run it: what it shows, and what it leaves behind.

Linux only: whose process is whose is read from `/proc`.
"""

import os
import pty
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from select import select

PATIENCE = 240.0
"""Seconds for whatever is waited for; a test that needs them has failed."""
MARK = "TEST_TERMINAL"
"""A variable that all processes of one terminal have, their children as well."""


class Terminal:
    """Runs a command as the foreground of a new terminal."""

    def __init__(self, command: Sequence[str | Path], *, folder: Path, temporary: Path) -> None:
        """Starts it.

        Args:
            command: Program and arguments.
            folder: Where it works.
            temporary: Its folder for temporary files.
        """
        self._mark = f"{MARK}={uuid.uuid4().hex}"
        name, _, value = self._mark.partition("=")
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            # the shell's child gets the terminal as its own, which Popen alone cannot give it
            ["setsid", "--ctty", *map(str, command)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            cwd=folder,
            env=os.environ | {name: value, "TMPDIR": str(temporary), "TERM": "xterm"},
        )
        os.close(theirs)
        self._open = True
        self._shown = b""

    @property
    def shown(self) -> str:
        """Everything it has shown."""
        return self._shown.decode(errors="replace")

    def wait_for(self, text: str) -> None:
        """Returns when it has shown this."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.shown:
            assert self._read(), f"ended before {text!r}: {self.shown}"
            assert time.monotonic() < deadline, f"no {text!r} in {self.shown}"

    def press_ctrl_c(self) -> None:
        """The terminal interrupts everybody in its foreground."""
        os.write(self._ours, b"\x03")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to the command alone."""
        self.process.send_signal(number)

    def close(self) -> None:
        """The window is gone: nobody can write there any more."""
        os.close(self._ours)
        self._open = False

    def wait(self) -> int:
        """Returns its status when it has ended."""
        while self._open and self._read():
            pass
        return self.process.wait(PATIENCE)

    def left(self) -> list[str]:
        """The command lines of those of its processes that run."""
        return [line for pid in os.listdir("/proc") if (line := self._command_line(pid))]

    def _command_line(self, pid: str) -> str:
        process = Path("/proc", pid)
        try:
            if not pid.isdigit() or self._mark not in (process / "environ").read_text():
                return ""
            return (process / "cmdline").read_text().replace("\0", " ") or pid
        except (OSError, UnicodeDecodeError):
            return ""

    def _read(self) -> bool:
        if not select([self._ours], [], [], 1.0)[0]:
            return self.process.poll() is None
        try:
            data = os.read(self._ours, 65536)
        except OSError:  # everybody has closed it
            return False
        self._shown += data
        return bool(data)
