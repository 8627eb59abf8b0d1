"""Notices that somebody else writes the same status, and writes less often then. Pure.

Control planes of two namespaces may read the same objects. Each has a leader, and these may
disagree for ever, for example on which Envoys are connected. Without a limit they would write as
fast as they can.
"""

from typing import Final

from scopeway.control_plane.registry.interface import Place

FREE_WRITES: Final = 4
"""Writes of one generation of an object that nothing delays: accepted, connected, and so on."""
CALM: Final = 300.0
"""Seconds without a write after which earlier ones don't count."""
FIRST_DELAY, LONGEST_DELAY = 2.0, 300.0
"""Seconds after the first write beyond these; each further one doubles it."""


class Contention:
    """When each object was written, and how often in a row."""

    def __init__(self) -> None:
        self._writes: dict[Place, tuple[int, int, float]] = {}
        """The generation that was written last, how many writes it had, when the last one was."""

    def note(self, place: Place, generation: int, now: float) -> bool:
        """Note a write; return whether the next ones are delayed from now on."""
        before, count, last = self._writes.get(place, (generation, 0, now))
        count = 1 if before != generation or now - last >= CALM + _delay(count) else count + 1
        self._writes[place] = (generation, count, now)
        return count == FREE_WRITES + 1

    def free_at(self, place: Place, generation: int) -> float:
        """Return when a generation of an object may be written again."""
        before, count, last = self._writes.get(place, (generation, 0, float("-inf")))
        return last + _delay(count) if before == generation else float("-inf")

    def forget(self, place: Place) -> None:
        """Forget an object that is gone."""
        self._writes.pop(place, None)


def _delay(count: int) -> float:
    beyond = count - FREE_WRITES
    return min(FIRST_DELAY * 2.0 ** min(beyond - 1, 16), LONGEST_DELAY) if beyond > 0 else 0.0
