"""The errors of `python -m demo`."""

from pathlib import Path

import pytest

from demo.__main__ import main


def test_a_missing_openstack_environment_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--openstack-python", "/nowhere"])

    assert end.value.code == 2
    assert "Path '/nowhere' does not exist" in capsys.readouterr().err


def test_a_missing_part_of_the_demo_is_an_error_of_one_sentence(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--plain", "--openstack-python", str(tmp_path)])

    assert end.value.code == 1
    assert capsys.readouterr().err.startswith("demo: no program 'keystone-manage' in ")


def test_help_of_the_demo_names_each_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])

    shown = capsys.readouterr().out
    assert shown.startswith("Usage: python -m demo [OPTIONS]")
    for option in ("--up", "--down", "--full", "--keep", "--openstack-python", "--plain"):
        assert option in shown
