"""Which operators an expression has besides `|`."""

from collections.abc import Iterator

from scopeway.control_plane.scope.ast import Expression, LabelSelector, Operation


def operator_other_than_or(expression: Expression) -> str | None:
    """Return an operator that is not `|`, or None; `&[…]` has an `&`.

    A `%` comes first, because nothing serves it, then the outermost one.
    """
    found = [operator for operator in _operators(expression) if operator != "|"]
    return "%" if "%" in found else next(iter(found), None)


def _operators(expression: Expression) -> Iterator[str]:
    if isinstance(expression, Operation):
        yield expression.operator
        for operand in expression.operands:
            yield from _operators(operand)
    elif isinstance(expression, LabelSelector) and expression.every:
        yield "&"
