"""Attackers beside an honest client: python tests/bench/bench_hostile.py [--list] [WORD …].

Runs the cases whose names have one of the words, by default all: half an hour. The attacker is a
process of its own that gets half a core. Each case prints one line of JSON; docs/bench.md has the
table.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import report

BENCH = Path(__file__).parent
sys.path[:0] = [str(BENCH), str(BENCH.parents[1]), str(BENCH.parent / "support")]

from hostile import callers, control_plane, front, registry, service, stalled  # noqa: E402 - the path is needed

Case = Callable[[], Mapping[str, float]]

CASES: dict[str, Case] = {
    f"{module.__name__.rpartition('.')[2]}: {name}": case
    for module in (callers, control_plane, front, registry, service, stalled)
    for name, case in module.CASES.items()
}


def chosen(words: list[str]) -> Mapping[str, Case]:
    """Return the cases whose names have one of some words; without words, all."""
    return {
        name: case
        for name, case in CASES.items()
        if not words or any(word in name for word in words)
    }


if __name__ == "__main__":
    for name, case in chosen([each for each in sys.argv[1:] if each != "--list"]).items():
        if "--list" in sys.argv:
            print(name)
        else:
            report.figures(name, case())
