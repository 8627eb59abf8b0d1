"""Clouds that are counted when they are freed."""

from scopeway.control_plane.clouds.model import Cloud


class Counted(Cloud):
    """A cloud."""

    freed = 0
    """Of all time."""

    def __del__(self) -> None:
        Counted.freed += 1


class Freed:
    """How many clouds were freed since it was last asked."""

    def __init__(self) -> None:
        self._before = Counted.freed

    def take(self) -> int:
        """Return the number, and count anew."""
        before, self._before = self._before, Counted.freed
        return self._before - before
