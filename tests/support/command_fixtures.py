"""The command as people type it, in this process: fixtures for the conftest of several folders."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from scopeway.control_plane.cli import main


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command did."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


@pytest.fixture
def scopeway(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run `scopeway` with these arguments."""

    def run(*arguments: object) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(each) for each in arguments])
        code = end.value.code
        return Outcome(code if isinstance(code, int) else 0, *capfd.readouterr())

    return run


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write documents into a file of the test's folder."""

    def write(name: str, *documents: Any) -> Path:
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump_all(documents))
        return file

    return write
