"""A scope or an expression as text with the fewest parentheses: the inverse of the parser."""

from typing import assert_never

from scopeway.control_plane.scope import (
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
    Scope,
)

_STRENGTH = {"|": 1, "^": 2, "&": 3, "%": 4}


def canonical(value: Scope | Expression) -> str:
    """Return the one text of a value: parsing it gives the value again."""
    if isinstance(value, Scope):
        bindings = "; ".join(f"{b.service}: {_expression(b.expression)}" for b in value.bindings)
        return f"{{{bindings}}}"
    return _expression(value)


def _expression(expression: Expression, around: int = 0) -> str:
    match expression:
        case CloudName(name):
            return name
        case Local():
            return "local"
        case LabelSelector(labels, every=every):
            selector = "[" + ",".join(f"{label}={value}" for label, value in labels) + "]"
            return f"&{selector}" if every else selector
        case Operation(operator, operands):
            strength = _STRENGTH[operator]
            text = f" {operator} ".join(_expression(operand, strength) for operand in operands)
            return f"({text})" if strength < around else text
    assert_never(expression)
