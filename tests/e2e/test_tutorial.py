"""docs/tutorial.md, typed into a shell: each block works and prints what is shown below it."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from harness.ports import free_ports, listens
from harness.process import SECONDS, clean_environment, until

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "tutorial.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```\n(?:```text\n(.*?)^```\n)?", PAGE, re.MULTILINE | re.DOTALL)
PORTS = sorted(set(re.findall(r"\b[89]\d{3}\b", PAGE)))
END = "end of block"


@dataclass(slots=True)
class Shell:
    """A reader's shell in an empty folder; ports of the page become free ones."""

    process: "subprocess.Popen[str]"
    ports: dict[str, int]

    def run(self, block: str) -> tuple[int, str]:
        """Return the status of a block, and what it prints."""
        for written, free in self.ports.items():
            block = re.sub(rf"\b{written}\b", str(free), block)
        # the name of its admin socket is for the whole machine, where other tests have a cloud-1
        instance = f"tutorial-{min(self.ports.values())}"
        block = block.replace("scopeway bootstrap ", f"scopeway bootstrap --instance {instance} ")
        block = block.replace("curl ", f"curl --max-time {SECONDS // 2:g} ")
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{block}\necho {END} $?\n")
        self.process.stdin.flush()
        lines = []
        for line in self.process.stdout:
            before, end, status = line.partition(END)
            lines.append(before.rstrip())
            if end:
                printed = "\n".join(lines).rstrip()
                for written, free in self.ports.items():
                    printed = printed.replace(str(free), written)
                return int(status), printed
        raise AssertionError(f"the shell has ended: {block}")

    def wait_for(self, shown: str, block: str) -> None:
        """Run a block until it prints this: a reader types slower than what was started before."""
        status, printed = 0, ""

        def prints() -> bool:
            nonlocal status, printed
            status, printed = self.run(block)
            return status == 0 and _in_order(printed) == _in_order(shown.rstrip())

        until(prints, f"{block}\n{shown}", log=lambda: f"but {status}\n{printed}")


def _in_order(text: str) -> str:
    """Return a list in JSON with its items sorted: the cloud that answers first comes first."""
    if not text.startswith("[\n"):
        return text
    return "\n".join(sorted(map(str, json.loads(text))))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: that of a socket in it has 107 bytes at most."""
    with TemporaryDirectory() as name:
        yield Path(name)


@pytest.fixture
def shell(folder: Path) -> Iterator[Shell]:
    xds, admin, *ports = free_ports(2 + len(PORTS))
    environment = clean_environment(
        PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        PYTHONPATH=str(REPOSITORY / "src"),
        SCOPEWAY_XDS=f"127.0.0.1:{xds}",
        SCOPEWAY_XDS_LISTEN=f"127.0.0.1:{xds}",
        SCOPEWAY_ADMIN_LISTEN=f"127.0.0.1:{admin}",
    )
    with subprocess.Popen(
        ["bash"],
        cwd=folder,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        shell = Shell(process, dict(zip(PORTS, ports, strict=True)))
        try:
            shell.run("trap 'kill 0' EXIT")  # also if this program is killed
            yield shell
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_every_block_of_the_tutorial_prints_what_is_shown(shell: Shell) -> None:
    (install, _), *blocks = BLOCKS
    assert "make .venv/ready" in install
    for block, shown in blocks:
        if shown:
            shell.wait_for(shown, block)
        else:
            assert shell.run(block) == (0, ""), block

    until(lambda: not any(map(listens, shell.ports.values())), "all processes have ended")
