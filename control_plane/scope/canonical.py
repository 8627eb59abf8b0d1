"""The tree canonical form, for people: one line, the fewest parentheses.

Invariant: parsing `canonical(x)` gives `x` again.
"""

from typing import assert_never

from scopeway.control_plane.scope.ast import (
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
    Scope,
)

_STRENGTH = {"|": 1, "^": 2, "&": 3, "%": 4}
_SERVED = "|"


def canonical(value: Scope | Expression) -> str:
    """Returns the tree form of a scope or an expression."""
    if isinstance(value, Scope):
        bindings = "; ".join(f"{b.service}: {_expression(b.expression)}" for b in value.bindings)
        return f"{{{bindings}}}"
    return _expression(value)


def unsupported_operator(expression: Expression) -> str | None:
    """Returns the first operator that nothing serves yet (a 501), from the left; None if none."""
    if not isinstance(expression, Operation):
        return None
    if expression.operator != _SERVED:
        return expression.operator
    found = (unsupported_operator(operand) for operand in expression.operands)
    return next((operator for operator in found if operator is not None), None)


def _expression(expression: Expression, around: int = 0) -> str:
    match expression:
        case CloudName(name):
            return name
        case Local():
            return "local"
        case LabelSelector(labels):
            return "[" + ",".join(f"{label}={value}" for label, value in labels) + "]"
        case Operation(operator, operands):
            strength = _STRENGTH[operator]
            text = f" {operator} ".join(_expression(operand, strength) for operand in operands)
            return f"({text})" if strength < around else text
    assert_never(expression)
