"""Who is told what clouds did: a program, a command, or the shell of `openstack`."""

import logging

import pytest

from scopeway.control_plane.openstack_client.report import CloudResult, Report
from scopeway.control_plane.openstack_client.summary import (
    MAX_SENTENCES,
    Command,
    Program,
    audience,
)

B, C = CloudResult("b", 503, reason="refused"), CloudResult("c", 0, "timeout")


def test_a_command_prints_the_failures_of_all_its_requests_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = Command()

    command.failures("h/image", Report(40, 1, (B,)))
    command.failures("h/image", Report(39, 1, (C,)))
    command.failures("h/image", Report(38, 1, (B,)))
    assert capsys.readouterr().err == ""
    command.print_summary()

    assert capsys.readouterr().err == (
        "2 of 40 clouds did not answer: b (503: refused), c (timeout)\n"
    )
    command.print_summary()
    assert capsys.readouterr().err == ""


def test_two_services_of_a_command_have_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    command = Command()

    command.failures("h/image", Report(2, 1, (B,)))
    command.failures("h/compute", Report(3, 1, (C,)))
    command.print_summary()

    assert capsys.readouterr().err.splitlines() == [
        "1 of 2 clouds did not answer: b (503: refused)",
        "1 of 3 clouds did not answer: c (timeout)",
    ]


def test_a_command_prints_equal_sentences_once_and_not_without_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = Command()

    for number in [0, 0, *range(1, 2 * MAX_SENTENCES)]:
        command.sentence(str(number))
    command.print_summary()

    assert capsys.readouterr().err.split() == [str(number) for number in range(MAX_SENTENCES)]


class App:
    """The application of cliff, which runs each command of its shell."""

    interactive_mode = True

    def run(self, command: Command) -> None:
        command.failures("h/image", Report(40, 1, (B,)))
        command.sentence("more")


def test_the_shell_prints_the_failures_of_each_request(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        App().run(Command())

        assert capsys.readouterr().err == "1 of 40 clouds did not answer: b (503: refused)\nmore\n"


def test_a_program_gets_a_warning_of_logging(caplog: pytest.LogCaptureFixture) -> None:
    Program().failures("h/image", Report(40, 1, (B,)))

    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == "1 of 40 clouds did not answer: b (503: refused)"


def test_all_connections_of_a_command_share_a_summary() -> None:
    assert isinstance(audience(is_command=False), Program)
    assert isinstance(audience(is_command=True), Command)
    assert audience(is_command=True) is audience(is_command=True)
