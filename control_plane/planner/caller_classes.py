"""Who a policy's rules are for: clouds that the same rules are for are one class.

Pure. Labels become names here. The clouds of a fleet bear few different sets of labels, and those
with equal labels are in one class unless a rule names them: so a class costs what it is made of,
sets of labels and names, and not rules times clouds.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Final

from scopeway.control_plane.clouds.inventory import Inventory, label_set
from scopeway.control_plane.clouds.label_index import LabelSet
from scopeway.control_plane.clouds.policy import Policy, Selector
from scopeway.control_plane.collections.sorted_names import SortedNames
from scopeway.xds.steps import STRIDE, Steps, finish

MAX_LOOKED_AT: Final = 50_000
"""Names, and sets of labels for each selector, that are looked at for one policy: some 20 ms."""

_LARGE: Final = 32
"""Names with equal labels that are worth being kept encoded."""

Block = tuple[str, ...]
"""Names of clouds in one class, in order. Mostly a block of the inventory, the same value until one
of its clouds changes."""


class PolicyTooLarge(Exception):
    """A policy that is not worked out, so that nobody is let in; the text says what is too much."""


@dataclass(frozen=True, slots=True)
class CallerClass:
    """The clouds that the same rules are for."""

    rules: int
    """Bit i: rule i is for them. Never 0."""
    blocks: tuple[Block, ...]
    """Large parts of their names, in order."""
    others: Block
    """All other names, in order."""


def caller_classes(policy: Policy, inventory: Inventory) -> list[CallerClass]:
    """Return the classes of all clouds that some rule is for, in a fixed order.

    Raises:
        PolicyTooLarge: more than MAX_LOOKED_AT.
    """
    return finish(caller_class_steps(policy, inventory))


def caller_class_steps(policy: Policy, inventory: Inventory) -> Steps[list[CallerClass]]:
    """Do what `caller_classes` does, in steps."""
    named: dict[str, int] = {}
    selectors: dict[Selector, int] = {}
    for index, rule in enumerate(policy.rules):
        for name in rule.names:
            named[name] = named.get(name, 0) | 1 << index
        for selector in rule.selectors:
            selectors[selector] = selectors.get(selector, 0) | 1 << index
        yield
    _check(selectors, inventory, more=len(named))
    of_labels: dict[LabelSet, int] = {}
    names_of: dict[LabelSet, SortedNames] = {}
    for selector, rules in selectors.items():
        for count, (_, labels, names) in enumerate(inventory.label_groups(selector), 1):
            of_labels[labels] = of_labels.get(labels, 0) | rules
            names_of[labels] = names
            if not count % STRIDE:
                yield
        yield
    apart: dict[LabelSet, set[str]] = {}
    for count, name in enumerate(named, 1):
        cloud = inventory.get(name)
        labels = label_set(cloud) if cloud is not None and cloud.labels else frozenset()
        if labels in of_labels:
            named[name] |= of_labels[labels]
            apart.setdefault(labels, set()).add(name)
        if not count % STRIDE:
            yield
    return (yield from _classes(named, of_labels, names_of, apart))


def _check(selectors: Iterable[Selector], inventory: Inventory, *, more: int) -> None:
    looked_at = more + sum(map(inventory.lookup_cost, selectors))
    if looked_at > MAX_LOOKED_AT:
        raise PolicyTooLarge(
            f"its accept rules select {looked_at} times a cloud or a set of labels, more than "
            f"{MAX_LOOKED_AT}; fewer rules by labels that most clouds bear would do"
        )


def _classes(
    named: dict[str, int],
    of_labels: dict[LabelSet, int],
    names_of: dict[LabelSet, SortedNames],
    apart: dict[LabelSet, set[str]],
) -> Steps[list[CallerClass]]:
    blocks: dict[int, list[SortedNames]] = {}
    others: dict[int, list[str]] = {}
    for count, (name, rules) in enumerate(named.items(), 1):
        others.setdefault(rules, []).append(name)
        if not count % STRIDE:
            yield
    for count, (labels, rules) in enumerate(of_labels.items(), 1):
        if not count % STRIDE:
            yield
        names = names_of[labels]
        if labels in apart:
            left = (tuple(each for each in block if each not in apart[labels]) for block in names)
            names = tuple(block for block in left if block)
        if sum(map(len, names)) >= _LARGE:
            blocks.setdefault(rules, []).append(names)
        else:
            others.setdefault(rules, []).extend(chain.from_iterable(names))
    classes: list[CallerClass] = []
    for rules in sorted(blocks.keys() | others.keys()):
        # sets of labels have no name in common: the first orders them, wherever blocks end
        in_order = tuple(chain.from_iterable(sorted(blocks.get(rules, ()))))
        classes.append(CallerClass(rules, in_order, tuple(sorted(others.get(rules, ())))))
        yield
    return classes
