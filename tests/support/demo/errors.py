"""What can go wrong while the demo's parts are started and used."""

from collections.abc import Sequence

from harness.process import ProcessFailed
from scopeway.control_plane.errors import ControlPlaneError


class DemoError(ControlPlaneError):
    """The demo cannot go on."""


class PartMissing(DemoError):
    """A program that the demo starts is not installed."""

    def __init__(self, *, program: str, looked_in: Sequence[str], cure: str) -> None:
        super().__init__(f"no program {program!r} in {', '.join(looked_in)}: {cure}")


FAILURES = (DemoError, ProcessFailed)
"""What ends the demo with a sentence."""
