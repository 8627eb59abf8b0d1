"""An interrupted `make demo` leaves nothing behind, whenever and however it is ended."""

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.terminal import Terminal

ROOT = Path(__file__).parents[2]
DEMO = ["env", "PYTHONPATH=tests/support", sys.executable, "-m", "demo"]
ENDS: dict[str, Callable[[Terminal], None]] = {
    "ctrl-c": Terminal.press_ctrl_c,
    "sigterm": lambda terminal: terminal.send(signal.SIGTERM),
    "closed": Terminal.close,
}

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]


@pytest.mark.parametrize(
    ("end", "moment"),
    [
        ("ctrl-c", "databases"),
        ("ctrl-c", "openstack image list"),
        ("sigterm", "three clouds"),
        ("closed", "databases"),
    ],
)
def test_an_interrupted_demo_leaves_no_processes_and_no_files(
    tmp_path_factory: pytest.TempPathFactory, end: str, moment: str
) -> None:
    temporary = tmp_path_factory.mktemp("t")  # short: it contains sockets
    terminal = Terminal(DEMO, folder=ROOT, temporary=temporary)
    terminal.wait_for(moment)
    ENDS[end](terminal)
    status = terminal.wait()

    assert terminal.left() == []
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in terminal.shown
    assert status != 0
    assert end == "closed" or "interrupted: everything is being stopped" in terminal.shown
