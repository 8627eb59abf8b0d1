"""The interrupted demo with whole clouds; it runs before the tests that keep clouds running."""

import signal
import sys
from pathlib import Path

import pytest

from harness.terminal import Terminal

ROOT = Path(__file__).parents[2]
DEMO = ["env", "PYTHONPATH=tests/support", sys.executable, "-m", "demo"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("end", ["ctrl-c", "sigterm", "closed"])
def test_an_interrupted_full_demo_leaves_no_processes_and_no_files(
    tmp_path_factory: pytest.TempPathFactory, end: str
) -> None:
    """MariaDB, RabbitMQ, Envoys and the first services run, the others are just starting."""
    temporary = tmp_path_factory.mktemp("t")  # short: it contains sockets
    terminal = Terminal([*DEMO, "--full"], folder=ROOT, temporary=temporary)
    terminal.wait_for("three times Keystone")
    if end == "ctrl-c":
        terminal.press_ctrl_c()
        terminal.press_ctrl_c()
    elif end == "sigterm":
        terminal.send(signal.SIGTERM)
    else:
        terminal.close()
    status = terminal.wait()

    assert terminal.left() == []
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in terminal.shown
    assert status != 0
