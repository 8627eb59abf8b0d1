"""The service types that a registry declares: a set of declarations without conflicts.

Pure. Invariant: the result depends only on the declarations, not on their order of arrival, so that
all replicas agree, and so does a control plane that restarts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType

from scopeway.control_plane.clouds import limits
from scopeway.control_plane.clouds.invalid import Problem
from scopeway.control_plane.clouds.service_type import HTTP, ServiceType
from scopeway.control_plane.scope import ServiceTypes, built_in


@dataclass(frozen=True, eq=False)
class DeclaredTypes:
    """Service types whose words do not conflict, and what is made of all of them.

    Compared by identity, because it is the key of caches.
    """

    types: Mapping[str, ServiceType] = field(default_factory=lambda: MappingProxyType({}))
    """By official name."""

    @cached_property
    def words(self) -> ServiceTypes:
        """All valid words for services, the built-in ones included."""
        if not self.types:
            return built_in()
        return built_in().with_types((each.name, each.aliases) for each in self.types.values())

    @cached_property
    def official_types(self) -> Mapping[str, str]:
        """Every valid word to its official type: the Lua constant `services`."""
        words = self.words
        return MappingProxyType({**words.aliases, **{each: each for each in words.types}})

    @cached_property
    def http(self) -> Mapping[str, Mapping[str, bool]]:
        """Each type of protocol http to the headers that may go to other clouds, each True."""
        return MappingProxyType(
            {
                each.name: MappingProxyType(dict.fromkeys(each.forward, True))
                for each in self.types.values()
                if each.protocol == HTTP
            }
        )

    def changed_since(self, before: "DeclaredTypes") -> frozenset[str]:
        """Return the names of the types that came, went or became other values."""
        if self is before:
            return frozenset()
        old, new = before.types, self.types
        return frozenset(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))

    def differs_in_lua(self, other: "DeclaredTypes") -> bool:
        """Return whether the Lua of sites differs: valid words, or headers that are forwarded."""
        return self.official_types != other.official_types or self.http != other.http


NO_TYPES = DeclaredTypes()
LEFT_OUT = "; it is left out"
"""The end of a problem with an alias that another type has."""


def declare(
    declarations: Iterable[ServiceType],
) -> tuple[DeclaredTypes, Mapping[str, tuple[Problem, ...]]]:
    """Return the types that count of some declarations, and the problems of each by its name.

    The first `limits.SERVICE_TYPES` names count. A name wins over an alias of another type. Of two
    types with one alias, the first by name gets it. The other type loses only that alias.

    Args:
        declarations: With distinct names, in any order.
    """
    ordered = sorted(declarations, key=lambda each: each.name)
    counted, beyond = ordered[: limits.SERVICE_TYPES], ordered[limits.SERVICE_TYPES :]
    too_many = Problem("", f"is not used: there are more than {limits.SERVICE_TYPES} service types")
    problems: dict[str, tuple[Problem, ...]] = {each.name: (too_many,) for each in beyond}
    owners = {each.name: each.name for each in counted}
    types: dict[str, ServiceType] = {}
    for each in counted:
        found = tuple(_conflicts(each, owners))
        if found:
            problems[each.name] = found
        aliases = tuple(
            word for word in each.aliases if owners.setdefault(word, each.name) == each.name
        )
        types[each.name] = replace(each, aliases=aliases) if found else each
    return DeclaredTypes(MappingProxyType(types)), problems


def _conflicts(declared: ServiceType, owners: Mapping[str, str]) -> Iterator[Problem]:
    for index, word in enumerate(declared.aliases):
        owner = owners.get(word)
        if owner is not None:
            what = "the name of" if owner == word else "an alias of"
            of = "another service type" if owner == word else f"the service type {owner!r}"
            yield Problem(f"spec.aliases[{index}]", f"{word!r} is {what} {of}{LEFT_OUT}")
