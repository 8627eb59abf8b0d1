"""What can go wrong while the demo's parts are started and used."""

from collections.abc import Sequence
from pathlib import Path

from scopeway.control_plane.errors import ControlPlaneError


class DemoError(ControlPlaneError):
    """The demo cannot go on."""


class PartMissing(DemoError):
    """A program that the demo starts is not installed."""

    def __init__(self, *, program: str, looked_in: Sequence[str], cure: str) -> None:
        super().__init__(f"no program {program!r} in {', '.join(looked_in)}: {cure}")


class PartFailed(DemoError):
    """A process ended, or did not become ready in time."""

    def __init__(self, *, part: str, reason: str, log: Path) -> None:
        super().__init__(f"{part}: {reason}")
        self.part = part
        self.log = log
        """Where the process wrote; `processes.tail` shows its end."""
