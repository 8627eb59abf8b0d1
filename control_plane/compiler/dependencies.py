"""Which targets in use a change of one cloud concerns.

An index from what a plan reads (`plan`) to target names: clouds by name, label selectors by one of
their pairs. A change costs what it concerns, whatever the number of targets. Not a value: it
follows what the Envoys use.
"""

from collections import Counter, defaultdict
from typing import TypeVar

from control_plane.clouds.model import Cloud
from control_plane.clouds.policy import bears
from control_plane.compiler.plan import atoms
from control_plane.scope import Target
from control_plane.scope.ast import CloudName, LabelSelector, Local

_Label = tuple[str, str]
_Selector = tuple[_Label, ...]
_Key = TypeVar("_Key")


class Dependencies:
    """The targets in use, each by the sites that use it."""

    def __init__(self) -> None:
        self._users: Counter[str] = Counter()
        """Target name to the number of sites that use it."""
        self._of_site: dict[str, set[str]] = defaultdict(set)
        """Cloud to the targets that its site uses."""
        self._naming: dict[str, set[str]] = defaultdict(set)
        """Cloud to the targets whose expression names it."""
        self._selecting: dict[_Label, dict[_Selector, set[str]]] = defaultdict(dict)
        """The first label of a selector to the selectors that begin so, and their targets."""

    def __len__(self) -> int:
        return len(self._users)

    def add(self, name: str, target: Target, site: str) -> None:
        """Note that the site of the cloud `site` uses a target; harmless when it is known."""
        if name in self._of_site[site]:
            return
        self._users[name] += 1
        self._of_site[site].add(name)
        for atom in atoms(target.expression):
            match atom:
                case CloudName(cloud):
                    self._naming[cloud].add(name)
                case Local():
                    self._naming[site].add(name)
                case LabelSelector(labels):
                    self._selecting[labels[0]].setdefault(labels, set()).add(name)

    def discard(self, name: str, target: Target, site: str) -> None:
        """Note that no Envoy of `site` uses a target any more; harmless when it isn't known."""
        if name not in self._of_site.get(site, ()):
            return
        _remove(self._of_site, site, name)
        self._users[name] -= 1
        unused = not self._users[name]
        if unused:
            del self._users[name]
        for atom in atoms(target.expression):
            match atom:
                case CloudName(cloud) if unused:
                    _remove(self._naming, cloud, name)
                case Local():
                    _remove(self._naming, site, name)
                case LabelSelector(labels) if unused:
                    self._forget_selector(labels, name)

    def affected(self, old: Cloud | None, new: Cloud | None) -> frozenset[str]:
        """Return the targets that name a cloud, or whose labels it bore or bears.

        `old` and `new` are the same cloud before and after, None where there is none. These are
        all targets whose plan may have changed at the sites of other clouds.
        """
        names: set[str] = set()
        for cloud in (old, new):
            if cloud is None:
                continue
            names |= self._naming.get(cloud.name, frozenset())
            for label in cloud.labels.items():
                for selector, selecting in self._selecting.get(label, {}).items():
                    if bears(cloud, selector):
                        names |= selecting
        return frozenset(names)

    def affected_at_home(self, old: Cloud | None, new: Cloud | None) -> frozenset[str]:
        """Return what a change of a cloud means at its own site, besides `affected`.

        Its labels order what label selectors select and are what other clouds accept; its own
        rules say whose tokens it honours. So these changes concern all targets of the site.
        """
        cloud = new or old
        if cloud is None:
            return frozenset()
        if old and new and old.labels == new.labels and old.accept == new.accept:
            return frozenset()
        return frozenset(self._of_site.get(cloud.name, frozenset()))

    def _forget_selector(self, selector: _Selector, name: str) -> None:
        selectors = self._selecting.get(selector[0], {})
        _remove(selectors, selector, name)
        if not selectors:
            self._selecting.pop(selector[0], None)


def _remove(index: dict[_Key, set[str]], key: _Key, name: str) -> None:
    members = index.get(key)
    if members is None:
        return
    members.discard(name)
    if not members:
        del index[key]
