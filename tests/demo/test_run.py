import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from demo import state
from demo.console import Screen
from demo.environment import Stage
from demo.errors import DemoError, PartMissing
from demo.full import FULL
from demo.run import SMALL, Demo, down, run_demo, up, write_environment
from demo.sites import ControlPlane
from harness.process import ProcessFailed
from harness.supervisor import Supervisor

SLEEP = "import time; time.sleep(600)"


def test_down_without_a_demo_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    down(plain=True, folder=tmp_path / "never")

    assert "nothing runs in" in capsys.readouterr().out


def test_down_stops_the_recorded_processes_and_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "up"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as process:
        state.record(folder, "sleeper", process.pid)
        down(plain=True, folder=folder)

    assert process.returncode < 0
    assert not folder.exists()


def test_a_second_up_is_refused(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True) as process:
        state.record(tmp_path, "sleeper", process.pid)
        try:
            with pytest.raises(DemoError, match=r"running already in .*: `make down` ends it"):
                up(plain=True, folder=tmp_path)
        finally:
            process.kill()


def test_a_demo_without_openstack_names_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(PartMissing, match="no program 'keystone-manage' in"):
        run_demo(plain=True, openstack_python=tmp_path)


def test_a_failed_part_shows_its_log_and_leaves_only_logs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(root: Path, _openstack: Path, supervisor: Supervisor, _screen: Screen) -> Stage:
        (root / "data").mkdir()
        command = [sys.executable, "-c", "print('no disk'); raise SystemExit(3)"]
        supervisor.finish(supervisor.start("part", command))
        raise AssertionError("unreachable")

    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    for name in ("keystone-manage", "glance-manage", "openstack", "python"):
        (environment / "bin" / name).touch()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(ProcessFailed, match="part: ended with status 3"):
        run_demo(replace(SMALL, set_up=fail), plain=True, openstack_python=environment)

    (folder,) = temporary.iterdir()
    shown = capsys.readouterr().out
    assert "part wrote at its end:\n    no disk\n" in shown
    assert f"the logs are in {folder / 'logs'}" in shown
    assert [file.name for file in folder.rglob("*")] == ["logs", "part.log"]


@pytest.mark.parametrize("demo", [SMALL, FULL], ids=["small", "full"])
def test_the_written_environment_makes_commands_find_this_demo(demo: Demo, tmp_path: Path) -> None:
    """The registry, control plane and clouds of the demo are at no default address."""
    plane = ControlPlane(
        registry="etcd://127.0.0.1:1", xds="", admin="http://127.0.0.1:2", certificates=tmp_path
    )
    write_environment(tmp_path, plane, tmp_path / "clouds.yaml", tmp_path)
    shown = subprocess.run(
        ["sh", "-c", f". {tmp_path}/env.sh && env"], capture_output=True, text=True, check=True
    ).stdout.splitlines()

    assert {line.split()[0] for line in demo.next_commands} == {"openstack", "scopeway"}
    assert "SCOPEWAY_REGISTRY=etcd://127.0.0.1:1" in shown
    assert "SCOPEWAY_ADMIN=http://127.0.0.1:2" in shown
    assert f"OS_CLIENT_CONFIG_FILE={tmp_path}/clouds.yaml" in shown
