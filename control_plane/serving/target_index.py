"""Which targets in use a change of one cloud, or of a service type, concerns.

An index from what a plan reads (`plan`) to target names: clouds by name, label selectors by one of
their pairs, service types that are not built in. The cost of a change does not depend on the number
of targets that it does not concern.
"""

from collections import Counter
from collections.abc import Collection, Iterator

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.selectors import SelectorIndex
from scopeway.control_plane.planner.planner import Atom, atoms
from scopeway.control_plane.scope import (
    IDENTITY_VALIDATE,
    Target,
    built_in,
    is_cheap_to_parse,
    parse_target,
)
from scopeway.control_plane.scope.ast import CloudName, LabelSelector, Local
from scopeway.xds.multimap import Index

_STEP = 256
"""Targets that are looked at before others have their turn."""


class TargetIndex:
    """The targets in use, each by the sites that use it."""

    def __init__(self) -> None:
        self._users: Index[str, str] = Index()
        """Target name to the sites that use it."""
        self._atoms: dict[str, tuple[Atom, ...]] = {}
        """Of those targets whose names take long to read, what `discard` needs to know."""
        self._sizes: Counter[str] = Counter()
        """Site to the number of clouds and labels in the targets that it uses."""
        self._naming: Index[str, str] = Index()
        """Cloud to the targets whose expression names it."""
        self._at_home: Index[str, str] = Index()
        """Cloud to the targets that its site uses, and whose expression has `local` in it."""
        self._selecting: SelectorIndex[str] = SelectorIndex()
        """The targets whose expression has a label selector."""
        self._of_type: Index[str, str] = Index()
        """Service type to its targets, of types that are not built in."""

    def __len__(self) -> int:
        return len(self._users)

    def users(self, target: str) -> int:
        """Return how many sites use a target."""
        return len(self._users.get(target))

    def size(self, site: str) -> int:
        """Return the number of clouds and labels in all targets that a site uses."""
        return self._sizes[site]

    def by_user(self, targets: Collection[str]) -> dict[str, list[str]]:
        """Return the sites that use some of these targets, each with those that it uses."""
        found: dict[str, list[str]] = {}
        for target in targets:
            for site in self._users.get(target):
                found.setdefault(site, []).append(target)
        return found

    def add(self, name: str, target: Target, site: str) -> None:
        """Note that the site of the cloud `site` uses a target; harmless when it is known."""
        if site in self._users.get(name):
            return
        self._users.add(name, site)
        if _may_be_declared(target.service):
            self._of_type.add(target.service, name)
        found = tuple(atoms(target.expression))
        self._sizes[site] += len(found)
        if name not in self._atoms and not is_cheap_to_parse(name):
            self._atoms[name] = found
        for atom in found:
            match atom:
                case CloudName(cloud):
                    self._naming.add(cloud, name)
                case Local():
                    self._at_home.add(site, name)
                case LabelSelector(labels):
                    self._selecting.add(labels, name)

    def discard(self, name: str, site: str) -> None:
        """Note that no Envoy of `site` uses a target any more; harmless when it isn't known.

        Takes microseconds, whatever the target is.
        """
        if site not in self._users.get(name):
            return
        self._users.discard(name, site)
        unused = not self._users.get(name)
        found = self._atoms_of(name)
        self._sizes[site] -= len(found)
        if not self._sizes[site]:
            del self._sizes[site]
        for atom in found:
            match atom:
                case CloudName(cloud) if unused:
                    self._naming.discard(cloud, name)
                case Local():
                    self._at_home.discard(site, name)
                case LabelSelector(labels) if unused:
                    self._selecting.discard(labels, name)
        if unused:
            self._atoms.pop(name, None)
            service = name.partition("@")[0]
            if _may_be_declared(service):
                self._of_type.discard(service, name)

    def _atoms_of(self, name: str) -> Collection[Atom]:
        return self._atoms.get(name) or tuple(atoms(parse_target(name).expression))

    def affected(
        self, clouds: Collection[Cloud], types: Collection[str] = ()
    ) -> Iterator[list[str]]:
        """Yield the targets that name one of some clouds, or whose labels one bears; each once.

        With `types`, also the targets of these service types. They come in lists of at most 256,
        many of them empty, each after little work. With all clouds of a change, as they were before
        and as they are now, these are all targets whose plan may have changed at the sites of other
        clouds, and at their own unless `is_another_caller`. Targets may come and go meanwhile.
        """
        seen: set[str] = set()
        for names in self._affected(clouds, types):
            for start in range(0, len(names), _STEP):
                some = [name for name in names[start : start + _STEP] if name not in seen]
                seen.update(some)
                yield some
            yield []

    def _affected(self, clouds: Collection[Cloud], types: Collection[str]) -> Iterator[list[str]]:
        for service in types:
            yield list(self._of_type.get(service))
        for cloud in clouds:
            yield list(self._naming.get(cloud.name))
            yield list(self._at_home.get(cloud.name))
        for selecting in self._selecting.users_selecting(clouds):
            yield list(selecting)


def _may_be_declared(service: str) -> bool:
    return service != IDENTITY_VALIDATE and service not in built_in().types


def is_another_caller(old: Cloud | None, new: Cloud | None) -> bool:
    """Return whether a change of a cloud may matter to all that its own site uses.

    Its labels order what label selectors select and are what other clouds accept; its own rules
    say whose tokens it honours.
    """
    if old is None or new is None:
        return old is not new
    return (old.labels, old.accept) != (new.labels, new.accept)
