"""The scope language: which cloud serves which service of one request (docs/scope.md).

Holds the parser, its values, and the lexical form that names targets. Does not know which clouds
exist. lark and os-service-types are imported at their first use.
"""

from collections.abc import Mapping

from scopeway.control_plane.scope import services
from scopeway.control_plane.scope.ast import (
    Binding,
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
    Scope,
)
from scopeway.control_plane.scope.errors import ScopeError
from scopeway.control_plane.scope.lexical import CompletedScope, complete_scope, lexical_form
from scopeway.control_plane.scope.operators import operator_other_than_or
from scopeway.control_plane.scope.parser import parse_expression, parse_scope
from scopeway.control_plane.scope.services import (
    MAX_SERVICE_TYPE,
    SERVICE_TYPE,
    ServiceTypes,
    any_service_type,
    built_in,
    is_service_type,
    official_type,
)
from scopeway.control_plane.scope.target import (
    IDENTITY_VALIDATE,
    Target,
    is_cheap_to_parse,
    is_fanout_name,
    parse_target,
    target_name,
)
from scopeway.control_plane.scope.text import is_cloud_name, is_label_word

SERVICE_TYPES: frozenset[str]
ALIASES: Mapping[str, str]

__all__ = [
    "ALIASES",
    "IDENTITY_VALIDATE",
    "MAX_SERVICE_TYPE",
    "SERVICE_TYPE",
    "SERVICE_TYPES",
    "Binding",
    "CloudName",
    "CompletedScope",
    "Expression",
    "LabelSelector",
    "Local",
    "Operation",
    "Scope",
    "ScopeError",
    "ServiceTypes",
    "Target",
    "any_service_type",
    "built_in",
    "complete_scope",
    "is_cheap_to_parse",
    "is_cloud_name",
    "is_fanout_name",
    "is_label_word",
    "is_service_type",
    "lexical_form",
    "official_type",
    "operator_other_than_or",
    "parse_expression",
    "parse_scope",
    "parse_target",
    "target_name",
]


def __getattr__(name: str) -> object:
    """Return one of the two tables of `services`, which are built at their first use."""
    if name in {"SERVICE_TYPES", "ALIASES"}:
        return getattr(services, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
