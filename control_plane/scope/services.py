"""The service names of the scope language, from the library `os-service-types`.

Maps what people write (`glance`, `volumev3`) to official service types. The library is imported at
the first call, because the import takes 16 ms.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import NamedTuple

SERVICE_TYPES: frozenset[str]
"""The official service types: `identity`, `image`, `block-storage`, …"""
ALIASES: Mapping[str, str]
"""Every other word for a service, its project's name included, to its official type."""


class _Words(NamedTuple):
    types: frozenset[str]
    aliases: Mapping[str, str]


@cache
def _words() -> _Words:
    from os_service_types import ServiceTypes  # here, because it takes 16 ms at the start

    library = ServiceTypes()
    types = frozenset(library.all_types_by_service_type)
    aliases = {service["project"]: service["service_type"] for service in library.services}
    for service_type, words in library.all_types_by_service_type.items():
        aliases.update(dict.fromkeys(words, service_type))
    others = {word: aliases[word] for word in sorted(aliases) if word not in types}
    return _Words(types, MappingProxyType(others))


def official_type(word: str) -> str | None:
    """Return the official type of a lower-case word, or None if no service has this name."""
    words = _words()
    return word if word in words.types else words.aliases.get(word)


def __getattr__(name: str) -> object:
    """Build the two tables at their first use."""
    if name == "SERVICE_TYPES":
        return _words().types
    if name == "ALIASES":
        return _words().aliases
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
