"""The entries of a registry beside its clouds: cordons, or service types (`catalog`).

Folds them from the registry's batches. Owns which entry counts. Pure. Invariant: neither a bad
entry in the place of one removes it, nor a mass loss that removes it together with clouds. Of
several entries of one name the first counts, by place; the name goes with the last of them.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.registry.interface import Batch, Entry, Place

_T = TypeVar("_T", Cordon, ServiceType)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(Generic[_T]):
    """An entry that is registered no more."""

    place: Place
    value: _T
    when: float
    """Seconds of the clock of the batches."""


class KeptEntries(Generic[_T]):
    """All entries of one kind of one registry, by name."""

    def __init__(
        self, kind: type[_T], stands_for: Callable[[InvalidCloud], str | None], *, window: float
    ) -> None:
        """Begin without entries.

        Args:
            kind: The type of the entries.
            stands_for: Returns the name of the entry of this kind that a bad one should be.
            window: The window of a mass loss, in seconds.
        """
        self._kind: type[_T] = kind
        self._stands_for = stands_for
        self._window = window
        self._at: dict[Place, _T] = {}
        self._places: dict[str, set[Place]] = {}
        """A name to the places of its entries; no empty sets."""
        self._removed: dict[str, Removed[_T]] = {}
        """Those lost within the window in a batch that lost clouds, too; by name."""
        self._held: dict[str, Removed[_T]] = {}
        """Those that were lost in a mass loss and count all the same; by name."""

    def __contains__(self, place: Place) -> bool:
        """Return whether an entry of this kind is, or was last, at a place."""
        return place in self._at

    @property
    def held(self) -> Mapping[str, Removed[_T]]:
        """The entries that were lost in a mass loss and stay, by name."""
        return self._held

    def values(self) -> Iterator[_T]:
        """Yield the entry that counts of each name."""
        yield from (self._at[min(places)] for places in self._places.values())
        yield from (held.value for held in self._held.values())

    def places(self, name: str) -> list[Place]:
        """Return the places of the entries of a name, that of the entry that counts first."""
        return sorted(self._places.get(name, ()))

    @property
    def duplicates(self) -> Collection[str]:
        """The names with entries in several places."""
        return [name for name, places in self._places.items() if len(places) > 1]

    def release(self, name: str) -> Removed[_T] | None:
        """Give up an entry that is held; return it."""
        return self._held.pop(name, None)

    def apply(
        self, batch: Batch, *, now: float, losses: bool = False, mass_loss: bool = False
    ) -> Mapping[str, _T | None]:
        """Take over a batch; return the entry, or None, of each name that it may concern.

        Args:
            batch: What the registry said.
            now: Seconds of a clock that never goes back.
            losses: The batch loses clouds, too; an entry alone is removed by an operator.
            mass_loss: These losses, with those of the window before, are a mass loss.
        """
        touched: dict[str, Removed[_T] | None] = {}
        for place, value in batch.upserts.items():
            if isinstance(value, InvalidCloud):
                self._inherit(place, self._stands_for(value))
        gone: Collection[Place] = batch.deletes
        if batch.complete:
            gone = self._at.keys() - batch.upserts.keys()
        for place in gone:
            self._enter(place, None, touched, now)
        for place, value in batch.upserts.items():
            self._enter(place, value, touched, now)
        for name, removed in touched.items():
            if name in self._places:
                self._removed.pop(name, None)
                self._held.pop(name, None)
            elif losses and removed is not None:
                self._removed[name] = removed
        if mass_loss:
            recent = {
                at: one for at, one in self._removed.items() if now - one.when <= self._window
            }
            self._held |= recent
            self._removed.clear()
            touched |= recent
        return {name: self._get(name) for name in touched}

    def _enter(
        self,
        place: Place,
        value: Entry | None,
        touched: dict[str, Removed[_T] | None],
        now: float,
    ) -> None:
        old = self._at.get(place)
        if old is not None and not isinstance(value, InvalidCloud):
            del self._at[place]
            self._places[old.name].discard(place)
            if not self._places[old.name]:
                del self._places[old.name]
            touched[old.name] = Removed(place=place, value=old, when=now)
        if isinstance(value, self._kind):
            self._at[place] = value
            self._places.setdefault(value.name, set()).add(place)
            touched.setdefault(value.name, None)

    def _inherit(self, place: Place, name: str | None) -> None:
        """Let a bad entry stand for the one that is known from elsewhere: from saved state."""
        if name in self._places and place not in self._at:
            self._at[place] = self._at[min(self._places[name])]
            self._places[name].add(place)

    def _get(self, name: str) -> _T | None:
        places = self._places.get(name)
        if places:
            return self._at[min(places)]
        held = self._held.get(name)
        return None if held is None else held.value
