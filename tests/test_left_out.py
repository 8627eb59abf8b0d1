"""A run of the tests says at its end what it left out."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.process import clean_environment

CONFTEST = Path(__file__).parent / "conftest.py"
TESTS = """
import pytest

@pytest.mark.whole_clouds
@pytest.mark.parametrize("number", range(3))
def test_clouds(number): ...

@pytest.mark.kubernetes
def test_kubernetes(): ...

@pytest.mark.etcd
def test_etcd(): ...

def test_other(): ...
"""
MARKERS = "[pytest]\nmarkers =\n  whole_clouds\n  kubernetes\n  etcd\n"


@pytest.mark.parametrize("options", [[], ["--numprocesses=2"]], ids=["alone", "workers"])
@pytest.mark.parametrize(
    ("selected", "line"),
    [
        (
            "not whole_clouds and not kubernetes and not etcd",
            "left out: 3 tests with whole clouds (make test-openstack), "
            "1 test with a Kubernetes API server (make test-kubernetes)",
        ),
        ("not etcd", None),
    ],
)
def test_the_end_of_a_run_tells_what_it_left_out(
    tmp_path: Path, options: list[str], selected: str, line: str | None
) -> None:
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text(MARKERS)
    command = [sys.executable, "-m", "pytest", "-m", selected, *options]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, env=clean_environment()
    )
    told = [each for each in done.stdout.splitlines() if each.startswith("left out")]

    assert done.returncode == 0, done.stdout
    assert told == ([] if line is None else [line])
