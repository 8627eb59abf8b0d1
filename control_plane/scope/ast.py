"""The values that the parser of the scope language returns."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CloudName:
    """One cloud by its name."""

    name: str


@dataclass(frozen=True, slots=True)
class Local:
    """The origin: the cloud whose front took the request first."""


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """The clouds that have all of these labels."""

    labels: tuple[tuple[str, str], ...]
    """(label, value), sorted by label, each label once; not empty."""
    every: bool = False
    """True for `&[…]`: all of these clouds, not the first that works."""


@dataclass(frozen=True, slots=True)
class Operation:
    """Two or more operands joined by one operator; no operand has the same operator."""

    operator: str
    """"|", "^", "&" or "%"."""
    operands: tuple["Expression", ...]


Expression = CloudName | Local | LabelSelector | Operation


@dataclass(frozen=True, slots=True)
class Binding:
    """One service bound to an expression."""

    service: str
    """An official service type, or "*" for all others."""
    expression: Expression


@dataclass(frozen=True, slots=True)
class Scope:
    """What a user writes; the empty scope is all local."""

    bindings: tuple[Binding, ...]
    """Sorted by service, each service once ("*" first)."""

    def expression_for(self, service: str) -> Expression:
        """Return the expression that serves a service, given by its official type."""
        bound = {binding.service: binding.expression for binding in self.bindings}
        return bound.get(service) or bound.get("*") or Local()
