"""Attackers beside an honest client: python tests/bench/bench_hostile.py [--list] [WORD …].

Runs the cases whose names have one of the words, by default all: minutes. The attacker is a process
of its own that gets half a core. Each case prints one line of JSON; docs/bench.md has the table.
"""

import sys
from collections.abc import Mapping
from pathlib import Path

import report

sys.path.insert(0, str(Path(__file__).parent))

from hostile import callers, stalled

CASES = {
    f"{module.__name__.rpartition('.')[2]}: {name}": case
    for module in (callers, stalled)
    for name, case in module.CASES.items()
}


def chosen(words: list[str]) -> Mapping[str, object]:
    """Return the cases that one of some words names."""
    return {
        name: each for name, each in CASES.items() if not words or any(w in name for w in words)
    }


if __name__ == "__main__":
    for case in chosen([each for each in sys.argv[1:] if each != "--list"]):
        if "--list" in sys.argv:
            print(case)
        else:
            report.figures(case, CASES[case]())
