"""An index of label selectors in use: which users select a given cloud.

A lookup costs O(selectors that select the cloud), whatever the number of selectors. Mutable.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import Generic, TypeVar

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.policy import Selector, has_labels

_User = TypeVar("_User")


class SelectorIndex(Generic[_User]):
    """Label selectors, each with its users."""

    def __init__(self) -> None:
        self._by_label: dict[tuple[str, str], dict[Selector, set[_User]]] = {}
        """A label to the selectors that are indexed by it, and their users."""
        self._label_of: dict[Selector, tuple[str, str]] = {}

    def __len__(self) -> int:
        """Return the number of selectors."""
        return len(self._label_of)

    def add(self, selector: Selector, user: _User) -> None:
        """Add a user of a selector; adding it twice is harmless."""
        label = self._label_of.get(selector)
        if label is None:
            # by the label with fewest selectors: a label that all selectors share would not help
            label = min(selector, key=lambda each: len(self._by_label.get(each, ())))
            self._label_of[selector] = label
        self._by_label.setdefault(label, {}).setdefault(selector, set()).add(user)

    def discard(self, selector: Selector, user: _User) -> None:
        """Remove a user of a selector; removing it twice is harmless."""
        label = self._label_of.get(selector)
        if label is None:
            return
        users = self._by_label[label][selector]
        users.discard(user)
        if users:
            return
        del self._label_of[selector]
        del self._by_label[label][selector]
        if not self._by_label[label]:
            del self._by_label[label]

    def users_selecting(self, clouds: Iterable[Cloud]) -> Iterator[Collection[_User]]:
        """Yield the users of each selector that selects one of some clouds, each selector once.

        Clouds with equal labels cost as much as one. An empty collection is yielded for each cloud,
        so that little work is between two yields. Selectors may be added and removed between
        yields. Copy the users before other code runs.
        """
        known: set[frozenset[tuple[str, str]]] = set()
        found: set[Selector] = set()
        for cloud in clouds:
            yield ()
            labels = frozenset(cloud.labels.items())
            if labels in known:
                continue
            known.add(labels)
            for label in labels:
                for selector, users in list(self._by_label.get(label, {}).items()):
                    if selector not in found and has_labels(cloud, selector):
                        found.add(selector)
                        yield users
        while known:  # freeing all at once takes long
            known.pop()
            yield ()
