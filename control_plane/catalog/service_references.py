"""Which service types manifests name that are not declared.

Such a manifest is accepted, and these services are not served until their types are declared.
A change costs what it concerns: the words of the changed clouds, and the changed types.
"""

from collections.abc import Collection, Iterable
from itertools import islice

from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.collections.listing import listed
from scopeway.control_plane.scope import IDENTITY_VALIDATE, ServiceTypes, built_in
from scopeway.xds.multimap import Index

_SHOWN_CLOUDS = 3


class ServiceReferences:
    """The service types that clouds name besides the built-in ones."""

    def __init__(self) -> None:
        self._words: dict[str, tuple[str, ...]] = {}
        """A cloud to the words that it names."""
        self._clouds: Index[str, str] = Index()
        """A word to the clouds that name it."""
        self._undeclared: dict[str, None] = {}
        """The words among these that are no service types, the first found first."""

    def __len__(self) -> int:
        """Return the number of words that are not declared."""
        return len(self._undeclared)

    def __contains__(self, word: str) -> bool:
        """Return whether a manifest names this word, and it is not declared."""
        return word in self._undeclared

    def update(self, name: str, cloud: Cloud | None, types: ServiceTypes) -> list[str]:
        """Note what a changed cloud names; return the words that are undeclared since now.

        At most `limits.SERVICES` words of a cloud are noted, because this is for reports.
        """
        before = self._words.pop(name, ())
        after = () if cloud is None else further_services(cloud)[: limits.SERVICES]
        if after:
            self._words[name] = after
        for word in set(before) - set(after):
            self._clouds.discard(word, name)
            if not self._clouds.get(word):
                self._undeclared.pop(word, None)
        for word in after:
            self._clouds.add(word, name)
        return self._note(after, types)

    def types_changed(self, names: Collection[str], types: ServiceTypes) -> list[str]:
        """Note that types came or went; return the words that are undeclared since now."""
        for word in names:
            self._undeclared.pop(word, None)
        return self._note([word for word in names if self._clouds.get(word)], types)

    def _note(self, words: Iterable[str], types: ServiceTypes) -> list[str]:
        new = [word for word in words if word not in types.types and word not in self._undeclared]
        self._undeclared |= dict.fromkeys(new)
        return new

    def sentences(self, types: ServiceTypes, limit: int) -> list[str]:
        """Return a sentence on each undeclared word, the first `limit` of them."""
        return [self.sentence(word, types) for word in islice(self._undeclared, limit)]

    def sentence(self, word: str, types: ServiceTypes) -> str:
        """Return what is wrong with a word, and which clouds name it."""
        clouds = self._clouds.get(word)
        shown = listed(list(islice(clouds, _SHOWN_CLOUDS)), _SHOWN_CLOUDS, total=len(clouds))
        return f"{types.unknown(word)} (named by {shown}; it is not served until it is declared)"


def further_services(cloud: Cloud) -> tuple[str, ...]:
    """Return the service types that a manifest names and that are not built in, sorted."""
    words = set(cloud.services)
    if cloud.front is not None:
        words.update(cloud.front.ports)
    for rule in cloud.accept:
        words.update(rule.services or ())
    words.discard(IDENTITY_VALIDATE)
    found = words - built_in().types
    return tuple(sorted(found)) if found else ()
