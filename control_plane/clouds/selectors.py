"""Who waits for clouds with some labels: an index of label selectors.

A change of a cloud costs what selects it, whatever the number of selectors. Not a value: it follows
what is in use.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from typing import Generic, TypeVar

from control_plane.clouds.model import Cloud
from control_plane.clouds.policy import Selector, bears

_User = TypeVar("_User")


class Selectors(Generic[_User]):
    """Label selectors, each with its users."""

    def __init__(self) -> None:
        self._by_first: dict[tuple[str, str], dict[Selector, set[_User]]] = defaultdict(dict)
        """The first label of a selector to the selectors that begin so, and their users."""

    def __len__(self) -> int:
        """Return the number of first labels."""
        return len(self._by_first)

    def add(self, selector: Selector, user: _User) -> None:
        """Note a user of a selector; harmless when it is known."""
        self._by_first[selector[0]].setdefault(selector, set()).add(user)

    def discard(self, selector: Selector, user: _User) -> None:
        """Forget a user of a selector; harmless when it isn't known."""
        selectors = self._by_first.get(selector[0], {})
        users = selectors.get(selector)
        if users is None:
            return
        users.discard(user)
        if not users:
            del selectors[selector]
        if not selectors:
            del self._by_first[selector[0]]

    def selecting(self, cloud: Cloud) -> Iterator[Collection[_User]]:
        """Yield the users of each selector that selects a cloud."""
        for label in cloud.labels.items():
            for selector, users in self._by_first.get(label, {}).items():
                if bears(cloud, selector):
                    yield users
