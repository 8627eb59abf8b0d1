"""The words for services: what people write (`glance`, `volumev3`), to official service types.

OpenStack's words are built in, from the library `os-service-types`. A registry may declare more
(docs/service-types.md). The library is imported at the first call, because that takes 16 ms.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from scopeway.control_plane.scope.text import quoted

SERVICE_TYPES: frozenset[str]
"""The built-in service types: `identity`, `image`, `block-storage`, …"""
ALIASES: Mapping[str, str]
"""Every other built-in word for a service, its project's name included, to its official type."""

MAX_SERVICE_TYPE = 40
"""Characters of a service type."""
_SHORTEST_CORRECTED = 3

SERVICE_TYPE = re.compile(rf"[a-z0-9]([a-z0-9-]{{0,{MAX_SERVICE_TYPE - 2}}}[a-z0-9])?")


@dataclass(frozen=True, slots=True, eq=False)
class ServiceTypes:
    """All words for services that are valid at one time; compared by identity."""

    types: frozenset[str]
    """The official service types."""
    aliases: Mapping[str, str]
    """Every other word to its official type."""

    def official(self, word: str) -> str | None:
        """Return the official type of a lower-case word; None if no service has this name."""
        return word if word in self.types else self.aliases.get(word)

    def suggestion(self, word: str) -> str | None:
        """Return the valid word that a mistyped one probably stands for, if there is one.

        That is the first valid word, in the order of its bytes, that differs by one edit: a
        character too many, one that is missing, another one, or two neighbours in the wrong order.
        Both words have at least 3 characters. Costs O(valid words) for a word of any length,
        because lengths are compared first. `lua_filters` follows the same rule
        (tests/vectors/scope/suggestions.json).
        """
        if len(word) < _SHORTEST_CORRECTED:
            return None
        near = [known for known in (*self.types, *self.aliases) if _is_one_edit(word, known)]
        return min(near, default=None)

    def unknown(self, word: str) -> str:
        """Return the message for a word that is not valid, or not an official type."""
        known = self.aliases.get(word) or self.suggestion(word)
        hint = "" if known is None else f"; did you mean {quoted(known)}?"
        return f"no such service: {quoted(word)}{hint}"

    def with_types(self, custom: Iterable[tuple[str, Iterable[str]]]) -> "ServiceTypes":
        """Return these words and those of further types: (official type, its aliases)."""
        types, aliases = set(self.types), dict(self.aliases)
        for name, others in custom:
            types.add(name)
            aliases.update(dict.fromkeys(others, name))
        return ServiceTypes(frozenset(types), MappingProxyType(aliases))


@cache
def built_in() -> ServiceTypes:
    """Return the words of OpenStack's services."""
    from os_service_types import ServiceTypes as Library  # here, because it takes 16 ms

    library = Library()
    types = frozenset(library.all_types_by_service_type)
    aliases = {service["project"]: service["service_type"] for service in library.services}
    for service_type, words in library.all_types_by_service_type.items():
        aliases.update(dict.fromkeys(words, service_type))
    others = {word: aliases[word] for word in sorted(aliases) if word not in types}
    return ServiceTypes(types, MappingProxyType(others))


class _AnyServiceType(ServiceTypes):
    def official(self, word: str) -> str | None:
        known = self.aliases.get(word, word)
        return known if is_service_type(known) else None


@cache
def any_service_type() -> ServiceTypes:
    """Return words for services that include every word that may be declared.

    For callers that do not know what is declared, and for scopes in tokens, which stay valid when
    a declaration is removed.
    """
    return _AnyServiceType(built_in().types, built_in().aliases)


def official_type(word: str) -> str | None:
    """Return the built-in type of a lower-case word, or None if no service has this name."""
    return built_in().official(word)


def is_service_type(word: str) -> bool:
    """Return whether a word may be a service type: an RFC 1123 label of MAX_SERVICE_TYPE."""
    return SERVICE_TYPE.fullmatch(word) is not None


def _is_one_edit(word: str, known: str) -> bool:
    """Return whether one edit makes `known` of `word` (`ServiceTypes.suggestion`)."""
    most = min(len(word), len(known))
    if most < _SHORTEST_CORRECTED or abs(len(word) - len(known)) > 1:
        return False
    start = 0
    while start < most and word[start] == known[start]:
        start += 1
    rest, wanted = word[start:], known[start:]
    if len(rest) != len(wanted):
        return rest[1:] == wanted or rest == wanted[1:]
    swapped = rest[1::-1] + rest[2:]
    return rest != wanted and (rest[1:] == wanted[1:] or swapped == wanted)


def __getattr__(name: str) -> object:
    """Build the two tables at their first use."""
    if name == "SERVICE_TYPES":
        return built_in().types
    if name == "ALIASES":
        return built_in().aliases
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
