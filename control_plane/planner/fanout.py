"""Plans a fan-out: which clouds one request goes to, and which of its clouds cannot be asked.

A fan-out is a target with `&`, `^` or `&[…]`. The plan names the clouds that cannot be asked, and
so does each answer's report. The target is rejected only if no cloud can be asked.
"""

from collections.abc import Callable
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.plan import (
    Fanout,
    Hop,
    Missing,
    Rejection,
    Skipped,
    missing_text,
)
from scopeway.control_plane.scope import operator_other_than_or
from scopeway.control_plane.scope.ast import (
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
)
from scopeway.xds.steps import STRIDE, Steps

MAX_CLOUDS = 4096
"""The most clouds of one fan-out."""

MAX_NAME_BYTES = 48 * 1024
"""The most bytes of their names: the collector gets them in two headers of each request."""

_ONLY_AND = "'&' joins clouds, local and '&[...]' only"
_ONLY_XOR = "'^' joins clouds and local only"

FanoutAtom: TypeAlias = CloudName | Local | LabelSelector


class FanoutExpression(NamedTuple):
    """An expression that is a fan-out."""

    operator: Literal["&", "^"]
    atoms: tuple[FanoutAtom, ...]


def read_fanout(expression: Expression, service: str) -> FanoutExpression | Rejection | None:
    """Return an expression as a fan-out; None if it has no part of one."""
    sign = operator_other_than_or(expression)
    if sign is None:
        return None
    if sign == "%":
        return _unsupported(
            "'%' divides one resource among clouds, which no service of OpenStack can do"
        )
    if service == "identity":
        return Rejection(status=400, reason=f"identity takes one cloud, not '{sign}'")
    match expression:
        case LabelSelector():
            return FanoutExpression("&", (expression,))
        case Operation("&", operands):
            return _fanout("&", operands, _ONLY_AND)
        case Operation("^", operands):
            return _fanout("^", operands, _ONLY_XOR)
    return _unsupported(f"an expression with '|' takes no '{sign}'")


def no_collector(cloud: str) -> Rejection:
    """Return the rejection of a fan-out at a site whose Envoy has no collector."""
    return _unsupported(f"{cloud} has no collector (scopeway collect)")


def fanout_steps(
    fanout: FanoutExpression,
    caller: Cloud,
    inventory: Inventory,
    hop_to: Callable[[str], Hop | Rejection],
    *,
    lists: str = "",
) -> Steps[tuple[Fanout | Rejection, tuple[Skipped, ...]]]:
    """Return the plan of a fan-out, and the clouds of it that cannot be asked, with the reasons.

    Takes some 5 us for each cloud.

    Args:
        fanout: The fan-out.
        caller: The cloud whose site asks.
        inventory: All clouds.
        hop_to: Returns how a cloud is reached, or why it cannot be asked.
        lists: The lists of a declared service type (`clouds.service_type.lists_json`).
    """
    names = yield from _clouds(fanout, caller, inventory)
    if not names:
        return _nothing_matches(fanout), ()
    if len(names) > MAX_CLOUDS:
        return _too_many(f"more than {MAX_CLOUDS} clouds"), ()
    members: list[str] = []
    missing: list[Missing] = []
    skipped: list[Skipped] = []
    first: Rejection | None = None
    for count, name in enumerate(names, 1):
        if not count % STRIDE:
            yield
        hop = hop_to(name)
        if isinstance(hop, Rejection):
            first = first or hop
            missing.append(Missing(cloud=name, status=hop.status, cause=hop.cause))
            skipped.append(Skipped(cloud=name, reason=hop.reason, cause=hop.cause))
        else:
            members.append(name)
    if not members:
        assert first is not None
        return first, tuple(skipped[1:])
    size = len(",".join(members)) + len(missing_text(missing))
    if size > MAX_NAME_BYTES:
        return _too_many(f"names of more than {MAX_NAME_BYTES} bytes"), ()
    plan = Fanout(
        operator=fanout.operator, members=tuple(members), missing=tuple(missing), lists=lists
    )
    return plan, tuple(skipped)


def _fanout(
    operator: Literal["&", "^"], operands: tuple[Expression, ...], what: str
) -> FanoutExpression | Rejection:
    atoms: list[FanoutAtom] = []
    for operand in operands:
        if isinstance(operand, Operation):
            return _unsupported(f"{what}, no part with '{operand.operator}'")
        if isinstance(operand, LabelSelector) and (operator == "^" or not operand.every):
            return _unsupported(f"{what}, not {_labels(operand)}")
        atoms.append(operand)
    return FanoutExpression(operator, tuple(atoms))


def _clouds(
    fanout: FanoutExpression, caller: Cloud, inventory: Inventory
) -> Steps[dict[str, None]]:
    """Return the clouds in the order of the expression, each once, and at most one too many."""
    names: dict[str, None] = {}
    for atom in fanout.atoms:
        match atom:
            case CloudName(name):
                names[name] = None
            case Local():
                names[caller.name] = None
            case LabelSelector(labels):
                found = inventory.nearest(dict(labels), near=caller.labels, first=caller.name)
                for count, name in enumerate(islice(found, MAX_CLOUDS + 1), 1):
                    names[name] = None
                    if not count % STRIDE:
                        yield
    return names


def _nothing_matches(fanout: FanoutExpression) -> Rejection:
    wanted = ", ".join(
        _labels(atom) for atom in fanout.atoms if isinstance(atom, LabelSelector)
    ).replace("&", "")
    return Rejection(status=404, reason=f"no cloud has the labels {wanted}")


def _labels(selector: LabelSelector) -> str:
    pairs = ",".join(f"{label}={value}" for label, value in selector.labels)
    return f"&[{pairs}]" if selector.every else f"[{pairs}]"


def _too_many(what: str) -> Rejection:
    return Rejection(status=400, reason=f"a fan-out has {what}: narrow the scope")


def _unsupported(reason: str) -> Rejection:
    return Rejection(status=501, reason=reason)
