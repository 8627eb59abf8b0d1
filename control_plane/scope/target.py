"""Target names: `<service>@<expression>`, the names of compiled clusters.

A name may be any text, because a client of xDS sends it. Invariant: a name is parsed, or raises
ScopeError.
"""

from dataclasses import dataclass

from scopeway.control_plane.scope.ast import CloudName, Expression
from scopeway.control_plane.scope.errors import ScopeError
from scopeway.control_plane.scope.parser import parse_expression
from scopeway.control_plane.scope.services import is_service_type
from scopeway.control_plane.scope.text import MAX_BYTES, is_cloud_name, quoted

IDENTITY_VALIDATE = "identity.validate"
"""The service in the names of targets that validate a token at the Keystone of one other cloud."""

_MAX_SERVICE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a target name asks for."""

    service: str
    """A word that may be a service type (`is_service_type`), or IDENTITY_VALIDATE. The parser does
    not know whether it is one now."""
    expression: Expression


def target_name(service: str, expression: str) -> str:
    """Return the name of the cluster for a service and a lexical expression."""
    return f"{service}@{expression}"


def is_cheap_to_parse(name: str) -> bool:
    """Return whether `parse_target` takes microseconds: cloud names, joined by `|` or by `&`."""
    expression = name.partition("@")[2]
    return all(map(is_cloud_name, expression.split("&" if "&" in expression else "|")))


def is_fanout_name(name: str) -> bool:
    """Return whether a target name is one of a fan-out, if it is valid: it has `&` or `^`."""
    return "&" in name or "^" in name


def parse_target(name: str | bytes) -> Target:
    """Parse a target name; columns in errors count within its expression.

    Raises:
        ScopeError: The name has no service, or its expression is not valid.
    """
    if len(name) > MAX_BYTES + _MAX_SERVICE:
        raise ScopeError("the target name is too long")
    text = name.decode(errors="replace") if isinstance(name, bytes) else name
    service, at, expression_text = text.partition("@")
    if not at:
        raise ScopeError(f"'@' is missing in the target name {quoted(text)}")
    if service != IDENTITY_VALIDATE and not is_service_type(service):
        raise ScopeError(f"no such service: {quoted(service)}")
    try:
        expression = parse_expression(expression_text)
    except ScopeError as error:
        message = f"{error.message} (in {quoted(expression_text)})"
        raise ScopeError(message, column=error.column, status=error.status) from None
    if service == IDENTITY_VALIDATE and not isinstance(expression, CloudName):
        raise ScopeError(f"{service} takes one cloud, not {quoted(expression_text)}")
    return Target(service=service, expression=expression)
