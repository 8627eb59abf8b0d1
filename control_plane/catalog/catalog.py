"""Folds a registry's batches into the inventory; the last good version of each cloud stays.

Owns which entries are accepted. Pure: no I/O, no clock. Knows no kind of registry. Invariant: a bad
entry affects no other entry; every cloud of the inventory was valid, and the only one of its name,
when it was accepted.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from rpds import HashTrieMap

from scopeway.control_plane.catalog.kept_entries import KeptEntries
from scopeway.control_plane.catalog.mass_loss import Loss, MassLossLimits, RecentLosses
from scopeway.control_plane.catalog.service_references import ServiceReferences
from scopeway.control_plane.clouds.cordon import Cordon
from scopeway.control_plane.clouds.declared_types import DeclaredTypes, declare
from scopeway.control_plane.clouds.invalid import InvalidCloud, Problem
from scopeway.control_plane.clouds.inventory import Inventory, split_changes
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.registry.interface import Batch, Place
from scopeway.xds.steps import Steps, finish

_OTHERS_SHOWN = 3
HELD_TYPE = "service-type/"
"""What a held service type is called, before its name, where clouds are called by their names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a batch has changed."""

    inventory: Inventory
    clouds: frozenset[str]
    """The names whose cloud came, went, became another value, or whose cordon did; nothing else."""
    service_types: frozenset[str]
    """The declared types that came, went or became other values, by official name."""
    problems: Mapping[Place, InvalidCloud]
    """All that is wrong with the registry now, whichever batch brought it."""
    new_problems: tuple[InvalidCloud, ...]
    """Those of them that this batch has brought: what is worth a line in the log."""
    new_undeclared: tuple[str, ...] = ()
    """The service types that manifests name and that are not declared, since this batch."""

    @property
    def is_any(self) -> bool:
        """Whether the inventory differs from the one before."""
        return bool(self.clouds or self.service_types)


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Cloud | InvalidCloud
    name: str | None
    """The cloud that this place declares, or declared last before it went bad; where it was never
    good, the one that it is about: it may be known from another place, such as saved state."""


class Catalog:
    """All entries of one registry, and the inventory that they make."""

    def __init__(self, limits: MassLossLimits | None = None) -> None:
        self._entries: dict[Place, _Entry] = {}
        self._places: dict[str, set[Place]] = {}
        """A cloud's name to the places whose entries bear it; no empty sets."""
        limits = limits or MassLossLimits()
        self._cordons = KeptEntries(Cordon, lambda bad: bad.cordon, window=limits.window)
        self._types = KeptEntries(ServiceType, lambda bad: bad.service_type, window=limits.window)
        self._conflicts: Mapping[Place, InvalidCloud] = {}
        """What is wrong with service types that are valid alone."""
        self._references = ServiceReferences()
        self._inventory = Inventory()
        self._losses = RecentLosses(limits)
        self._held: dict[str, Place] = {}
        """Clouds that were lost in a mass loss, to the place where they were."""
        self._problems: HashTrieMap[Place, InvalidCloud] = HashTrieMap()
        self._new_problems: dict[Place, InvalidCloud] = {}

    @property
    def inventory(self) -> Inventory:
        """The clouds as of the last batch."""
        return self._inventory

    @property
    def held(self) -> Mapping[str, Place]:
        """The clouds that stay as they were after a mass loss, to where they had stood.

        Of one that is registered again, but whose cordon was lost, that of the cordon. Service
        types that stay are among them, as `service-type/<name>`.
        """
        if not (self._cordons.held or self._types.held):
            return self._held
        types = {f"{HELD_TYPE}{name}": held.place for name, held in self._types.held.items()}
        cordons = {name: held.place for name, held in self._cordons.held.items()}
        return types | cordons | self._held

    @property
    def undeclared(self) -> ServiceReferences:
        """The service types that manifests name and that are not declared, as of the last batch."""
        return self._references

    @property
    def conflicts(self) -> Mapping[Place, InvalidCloud]:
        """The service types that are valid alone and conflict with others, by place."""
        return self._conflicts

    def release(self, names: Collection[str]) -> Change:
        """Give up what is held, by its names in `held`; other names have no effect. O(names)."""
        before = self._inventory
        self._new_problems = {}
        released = [name for name in names if name in self._held]
        for name in released:
            self._is_held_no_more(name)
        lifted = {name: cordon for name in names if (cordon := self._cordons.release(name))}
        types = [
            gone
            for name in names
            if name.startswith(HELD_TYPE)
            and (gone := self._types.release(name.removeprefix(HELD_TYPE)))
        ]
        self._forget_problems(each.place for each in lifted.values())
        self._forget_problems(each.place for each in types)
        inventory = before.apply({}, released).with_cordons(dict.fromkeys(lifted))
        if types:
            inventory = inventory.with_service_types(finish(self._declare()))
        return finish(self._change(inventory, (*released, *lifted)))

    def apply(self, batch: Batch, *, now: float) -> Change:
        """Take over a batch. O(entries of the batch).

        Args:
            batch: What the registry said.
            now: Seconds of a clock that never goes back; it only detects mass losses.
        """
        return finish(self.steps(batch, now=now))

    def steps(self, batch: Batch, *, now: float) -> Steps[Change]:
        """Take over a batch, step by step; until the last, the inventory is the one before.

        Nothing else may be done with the catalog meanwhile, but to look.
        """
        self._new_problems = {}
        upserts: dict[str, Cloud] = {}
        lost: dict[str, Loss] = {}
        touched = yield from self._take_over(batch)
        for name, place in touched.items():
            self._decide(name, place, upserts, lost)
            yield
        undone: Mapping[str, Loss] = {}
        losses = bool(lost)
        if lost:
            undone = self._losses.add(lost, known=self._inventory, now=now)
            for name, loss in undone.items():
                self._hold(name, loss, upserts, lost)
                yield
        beside = self._beside_clouds(batch)
        yield
        cordons = self._change_cordons(beside, now, losses=losses, mass_loss=bool(undone))
        yield
        inventory = self._inventory
        if self._change_types(beside, now, losses=losses, mass_loss=bool(undone)):
            inventory = inventory.with_service_types((yield from self._declare()))
        for names in split_changes((*upserts, *lost), upserts.get, self._inventory.get):
            inventory = inventory.apply(
                {name: upserts[name] for name in names if name in upserts},
                [name for name in names if name in lost],
            )
            yield
        inventory = inventory.with_cordons(cordons)
        return (yield from self._change(inventory, (*upserts, *lost, *cordons)))

    def _change(self, inventory: Inventory, clouds: Collection[str]) -> Steps[Change]:
        """Take a new inventory; return what has changed, in steps."""
        types = inventory.service_types
        changed = inventory.declared.changed_since(self._inventory.declared)
        undeclared = self._references.types_changed(changed, types)
        for name in clouds:
            undeclared += self._references.update(name, inventory.get(name), types)
            yield
        self._inventory = inventory
        return Change(
            inventory=inventory,
            clouds=frozenset(clouds),
            service_types=changed,
            problems=self._problems,
            new_problems=tuple(self._new_problems.values()),
            new_undeclared=tuple(word for word in undeclared if word in self._references),
        )

    def _take_over(self, batch: Batch) -> Steps[dict[str, Place]]:
        """Change the entries; return the clouds that may be concerned, each with a place of it."""
        touched: dict[str, Place] = {}
        gone = self._entries.keys() - batch.upserts.keys() if batch.complete else batch.deletes
        for place in gone:
            self._enter(place, None, touched)
            yield
        for place, value in batch.upserts.items():
            self._enter(place, value if isinstance(value, Cloud | InvalidCloud) else None, touched)
            yield
        return touched

    def _beside_clouds(self, batch: Batch) -> Batch:
        """Return the part of a batch that may concern cordons and service types."""
        upserts = {
            place: value
            for place, value in batch.upserts.items()
            if not isinstance(value, Cloud) or place in self._cordons or place in self._types
        }
        return replace(batch, upserts=upserts)

    def _enter(
        self, place: Place, value: Cloud | InvalidCloud | None, touched: dict[str, Place]
    ) -> None:
        old = self._entries.pop(place, None)
        before = None if old is None else old.name
        if isinstance(value, InvalidCloud):
            name = before or value.name
        else:
            name = None if value is None else value.name
        if value is not None:
            self._entries[place] = _Entry(value, name)
        if before is not None and before != name:
            self._places[before].discard(place)
            if not self._places[before]:
                del self._places[before]
            touched[before] = place
        if name is not None:
            self._places.setdefault(name, set()).add(place)
            touched[name] = place
        if isinstance(value, InvalidCloud):
            self._report(place, value)
        else:
            self._problems = self._problems.discard(place)

    def _decide(
        self, name: str, place: Place, upserts: dict[str, Cloud], lost: dict[str, Loss]
    ) -> None:
        """Find out what a cloud is now: another value, lost, or still what it was."""
        places = self._places.get(name, set())
        values = {at: self._entries[at].value for at in places}
        clouds = {at: value for at, value in values.items() if isinstance(value, Cloud)}
        known = self._inventory.get(name)
        if not places:
            if known is not None:  # what is held has no place to lose
                lost[name] = Loss(cloud=known, place=place)
            return
        self._is_held_no_more(name)
        if len(clouds) == 1:
            (at, cloud), *_ = clouds.items()
            self._problems = self._problems.discard(at)
            if cloud != known:
                upserts[name] = cloud
        first = sorted(clouds)[: _OTHERS_SHOWN + 1]
        for at in clouds if len(clouds) > 1 else ():
            others = [other for other in first if other != at]
            where = listed(others, _OTHERS_SHOWN, total=len(clouds) - 1)
            reason = f"{name!r} is declared in {where}, too"
            self._report(at, InvalidCloud(at, Problem("metadata.name", reason), name=name))

    def _hold(
        self, name: str, loss: Loss, upserts: dict[str, Cloud], lost: dict[str, Loss]
    ) -> None:
        """Hold a cloud that was lost in a mass loss, just now or in an earlier batch."""
        if lost.pop(name, None) is None and self._inventory.get(name) is None:
            upserts[name] = loss.cloud
        self._held[name] = loss.place
        if loss.place not in self._problems:
            problem = Problem(
                "", f"{name!r} was lost together with many others; it is kept as it was"
            )
            self._report(loss.place, InvalidCloud(loss.place, problem, name=name))

    def _is_held_no_more(self, name: str) -> None:
        """Take note that a cloud is registered (again), or given up."""
        self._losses.returned(name)
        place = self._held.pop(name, None)
        if place is not None:
            self._forget_problems((place,))

    def _change_types(self, batch: Batch, now: float, *, losses: bool, mass_loss: bool) -> bool:
        """Take over the service types of a batch; return whether they may have changed."""
        before = {held.place for held in self._types.held.values()}
        touched = self._types.apply(batch, now=now, losses=losses, mass_loss=mass_loss)
        held = {each.place: name for name, each in self._types.held.items()}
        self._forget_problems(before - held.keys())
        for place in held.keys() - before:
            reason = (
                f"the service type {held[place]!r} was lost together with many clouds; it is kept"
            )
            self._report(place, InvalidCloud(place, Problem("", reason)))
        return bool(touched)

    def _declare(self) -> Steps[DeclaredTypes]:
        """Return the service types that count now, and report conflicts, in steps."""
        declared, problems = declare(self._types.values())
        yield
        conflicts: dict[Place, InvalidCloud] = {}
        for name in {*problems, *self._types.duplicates}:
            first, *others = self._types.places(name) or [""]
            if first and name in problems:
                conflicts[first] = InvalidCloud(first, *problems[name])
            for place in others:
                problem = Problem("metadata.name", f"{name!r} is declared in {first}, which counts")
                conflicts[place] = InvalidCloud(place, problem)
            yield
        for place in self._conflicts.keys() - conflicts.keys():
            if self._problems.get(place) is self._conflicts[place]:
                self._problems = self._problems.discard(place)
        for place, conflict in conflicts.items():
            if place not in self._entries:  # else a bad document is there now
                self._report(place, conflict)
        self._conflicts = conflicts
        return declared

    def _change_cordons(
        self, batch: Batch, now: float, *, losses: bool, mass_loss: bool
    ) -> Mapping[str, str | None]:
        """Take over the cordons of a batch; return the reasons that changed."""
        before = {cordon.place for cordon in self._cordons.held.values()}
        cordons = self._cordons.apply(batch, now=now, losses=losses, mass_loss=mass_loss)
        reasons = {name: None if one is None else one.reason for name, one in cordons.items()}
        held = {cordon.place: name for name, cordon in self._cordons.held.items()}
        self._forget_problems(before - held.keys())
        for place in held.keys() - before:
            name = held[place]
            reason = f"the cordon of {name!r} was lost together with many clouds; it is kept"
            self._report(place, InvalidCloud(place, Problem("", reason), name=name))
        return {
            name: reason
            for name, reason in reasons.items()
            if reason != self._inventory.cordon_reason(name)
        }

    def _forget_problems(self, places: Iterable[Place]) -> None:
        """Forget what was wrong with places where nothing stands."""
        for place in places:
            if place not in self._entries:
                self._problems = self._problems.discard(place)

    def _report(self, place: Place, problem: InvalidCloud) -> None:
        if str(self._problems.get(place)) != str(problem):
            self._problems = self._problems.insert(place, problem)
            self._new_problems[place] = problem
