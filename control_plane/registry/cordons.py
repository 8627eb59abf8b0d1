"""The cordons of a registry, folded from its batches beside the clouds (`catalog`).

Owns which cordon counts. Pure. Invariant: a bad entry in the place of a cordon lifts nothing; where
a cloud has several, it is cordoned until the last of them is gone.
"""

from collections.abc import Collection, Mapping

from control_plane.clouds.cordon import Cordon
from control_plane.clouds.manifest import InvalidCloud
from control_plane.registry.protocol import Batch, Entry, Place


class Cordons:
    """All cordons of one registry."""

    def __init__(self) -> None:
        self._at: dict[Place, Cordon] = {}
        self._places: dict[str, set[Place]] = {}
        """A cloud's name to the places of its cordons; no empty sets."""

    def apply(self, batch: Batch) -> Mapping[str, str | None]:
        """Take over a batch; return the reason, or None, of each cloud that it may concern."""
        touched: set[str] = set()
        gone: Collection[Place] = batch.deletes
        if batch.complete:
            gone = self._at.keys() - batch.upserts.keys()
        for place in gone:
            self._enter(place, None, touched)
        for place, value in batch.upserts.items():
            self._enter(place, value, touched)
        return {name: self._reason(name) for name in touched}

    def _enter(self, place: Place, value: Entry | None, touched: set[str]) -> None:
        old = self._at.get(place)
        if old is not None and not isinstance(value, InvalidCloud):
            del self._at[place]
            self._places[old.name].discard(place)
            if not self._places[old.name]:
                del self._places[old.name]
            touched.add(old.name)
        if isinstance(value, Cordon):
            self._at[place] = value
            self._places.setdefault(value.name, set()).add(place)
            touched.add(value.name)

    def _reason(self, name: str) -> str | None:
        places = self._places.get(name)
        return self._at[min(places)].reason if places else None
