"""Tells people which clouds of a fan-out did not answer: once per command.

An `openstack` command may send many requests. It prints one sentence on standard error as its
process ends. The interactive shell of `openstack` runs many commands in one process, so it prints
at once. Other programs get a warning of `logging` for each response.
"""

import atexit
import logging
import sys
from dataclasses import replace
from functools import cache
from types import FrameType
from typing import Protocol

from scopeway.control_plane.openstack_client.report import Report
from scopeway.control_plane.openstack_client.sentences import not_answered

MAX_SENTENCES = 20
"""What a command prints at most, besides its failures."""

logger = logging.getLogger(__name__)


class Audience(Protocol):
    """Whom the hooks tell what clouds did."""

    def failures(self, service: str, report: Report) -> None:
        """Tell which clouds did not answer one request.

        Args:
            service: Any text that two services do not share.
            report: What the clouds of this service did.
        """

    def sentence(self, text: str) -> None:
        """Tell anything else."""


class Program:
    """A program that uses openstacksdk; its `logging` gets warnings."""

    def failures(self, service: str, report: Report) -> None:
        """Log which clouds did not answer one request."""
        self.sentence(not_answered(report))

    def sentence(self, text: str) -> None:
        """Log a sentence."""
        logger.warning("%s", text)


class Command:
    """A process of the `openstack` command."""

    def __init__(self) -> None:
        """Make a command without failures."""
        self._reports: dict[str, Report] = {}
        self._sentences: dict[str, None] = {}

    def failures(self, service: str, report: Report) -> None:
        """Keep the failures of one response until the process ends; a shell prints them at once."""
        if _is_shell():
            _print(not_answered(report))
            return
        before = self._reports.get(service)
        self._reports[service] = _merged(before, report) if before else report

    def sentence(self, text: str) -> None:
        """Keep a sentence until the process ends; a shell prints it at once."""
        if _is_shell():
            _print(text)
        elif len(self._sentences) < MAX_SENTENCES:
            self._sentences[text] = None

    def print_summary(self) -> None:
        """Print what was kept on standard error, one line for each service."""
        for text in (*map(not_answered, self._reports.values()), *self._sentences):
            _print(text)
        self._reports.clear()
        self._sentences.clear()


def audience(*, is_command: bool) -> Audience:
    """Return whom this process tells.

    Args:
        is_command: This process is the `openstack` command.
    """
    return _command_of_this_process() if is_command else Program()


@cache
def _command_of_this_process() -> Command:
    command = Command()
    atexit.register(command.print_summary)
    return command


def _is_shell() -> bool:
    """Return whether a caller is the interactive shell of `openstack`.

    cliff, the library below openstackclient, has no other sign of it than this attribute of its
    application, which runs the command.
    """
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if getattr(frame.f_locals.get("self"), "interactive_mode", None) is True:
            return True
        frame = frame.f_back
    return False


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _merged(before: Report, now: Report) -> Report:
    """Return the failures of two responses of one service, each cloud once."""
    by_cloud = {each.cloud: each for each in (*before.failed, *now.failed)}
    return replace(
        before,
        asked=max(before.asked, now.asked),
        failures=max(before.failures, now.failures, len(by_cloud)),
        failed=tuple(by_cloud.values()),
    )
