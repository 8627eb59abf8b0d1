"""The cordons of a registry, folded from its batches beside the clouds (`catalog`).

Owns which cordon counts. Pure. Invariant: neither a bad entry in the place of a cordon lifts it,
nor a mass loss that removes it together with clouds. A cloud with several cordons is cordoned until
the last of them is removed.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.registry.interface import Batch, Entry, Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifted:
    """A cordon that is registered no more."""

    place: Place
    reason: str
    when: float
    """Seconds of the clock of the batches."""


class Cordons:
    """All cordons of one registry."""

    def __init__(self, *, window: float) -> None:
        """Begin without cordons; `window` is the window of a mass loss, in seconds."""
        self._window = window
        self._at: dict[Place, Cordon] = {}
        self._places: dict[str, set[Place]] = {}
        """A cloud's name to the places of its cordons; no empty sets."""
        self._lifted: dict[str, Lifted] = {}
        """Those lost within the window in a batch that lost clouds, too; by name."""
        self._held: dict[str, Lifted] = {}
        """Those that were lost in a mass loss and count all the same; by name."""

    @property
    def held(self) -> Mapping[str, Lifted]:
        """The clouds whose cordon was lost in a mass loss and stays."""
        return self._held

    def release(self, name: str) -> Lifted | None:
        """Give up a cordon that is held; return it."""
        return self._held.pop(name, None)

    def apply(
        self, batch: Batch, *, now: float, losses: bool = False, mass_loss: bool = False
    ) -> Mapping[str, str | None]:
        """Take over a batch; return the reason, or None, of each cloud that it may concern.

        Args:
            batch: What the registry said.
            now: Seconds of a clock that never goes back.
            losses: The batch loses clouds, too; a cordon alone is lifted by an operator.
            mass_loss: These losses, with those of the window before, are a mass loss.
        """
        touched: dict[str, Lifted | None] = {}
        for place, value in batch.upserts.items():
            if isinstance(value, InvalidCloud) and value.cordon is not None:
                self._inherit(place, value.cordon)
        gone: Collection[Place] = batch.deletes
        if batch.complete:
            gone = self._at.keys() - batch.upserts.keys()
        for place in gone:
            self._enter(place, None, touched, now)
        for place, value in batch.upserts.items():
            self._enter(place, value, touched, now)
        for name, lifted in touched.items():
            if name in self._places:
                self._lifted.pop(name, None)
                self._held.pop(name, None)
            elif losses and lifted is not None:
                self._lifted[name] = lifted
        if mass_loss:
            recent = {at: one for at, one in self._lifted.items() if now - one.when <= self._window}
            self._held |= recent
            self._lifted.clear()
            touched |= recent
        return {name: self._reason(name) for name in touched}

    def _enter(
        self, place: Place, value: Entry | None, touched: dict[str, Lifted | None], now: float
    ) -> None:
        old = self._at.get(place)
        if old is not None and not isinstance(value, InvalidCloud):
            del self._at[place]
            self._places[old.name].discard(place)
            if not self._places[old.name]:
                del self._places[old.name]
            touched[old.name] = Lifted(place=place, reason=old.reason, when=now)
        if isinstance(value, Cordon):
            self._at[place] = value
            self._places.setdefault(value.name, set()).add(place)
            touched.setdefault(value.name, None)

    def _inherit(self, place: Place, name: str) -> None:
        """Let a bad entry stand for the cordon that is known from elsewhere: from saved state."""
        if name in self._places and place not in self._at:
            self._at[place] = self._at[min(self._places[name])]
            self._places[name].add(place)

    def _reason(self, name: str) -> str | None:
        places = self._places.get(name)
        if places:
            return self._at[min(places)].reason
        held = self._held.get(name)
        return None if held is None else held.reason
