"""Which operators of the scope language the control plane serves."""

from scopeway.control_plane.scope.ast import Expression, Operation

_SERVED = "|"


def unsupported_operator(expression: Expression) -> str | None:
    """Return the first operator from the left that is not served yet (a 501), or None."""
    if not isinstance(expression, Operation):
        return None
    if expression.operator != _SERVED:
        return expression.operator
    found = (unsupported_operator(operand) for operand in expression.operands)
    return next((operator for operator in found if operator is not None), None)
