import pytest

from demo.console import Screen


def test_commands_and_their_output_are_printed_unchanged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    screen = Screen(plain=True)

    screen.command('openstack image list --scope "[region=eu]"')
    screen.output("[bold]not markup[/bold] :smile:\n\n")

    assert capsys.readouterr().out == (
        '    $ openstack image list --scope "[region=eu]"\n    [bold]not markup[/bold] :smile:\n'
    )


def test_empty_output_is_shown_as_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(plain=True).output("\n")

    assert capsys.readouterr().out == "    (nothing)\n"


def test_tables_are_aligned_and_not_cut_off(capsys: pytest.CaptureFixture[str]) -> None:
    wide = "x" * 150

    Screen(plain=True).table(("site", "request"), [("cloud-1", wide), ("c", "GET /")])

    assert capsys.readouterr().out.splitlines() == [
        "    site     request",
        f"    cloud-1  {wide}",
        "    c        GET /",
    ]


def test_a_finished_task_is_printed_with_its_duration(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Screen(plain=True).task("etcd"):
        pass

    assert capsys.readouterr().out == " ✓ etcd  0.0 s\n"
