"""One JSON line for each figure: what was measured, how often, on what."""

import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def samples(case: str, values: Sequence[float], unit: str, *, bound: float | None = None) -> None:
    """Print the median and the 99th percentile of some samples; the bound is of the median."""
    ordered = sorted(values)
    figures = {
        "p50": round(statistics.median(ordered), 3),
        "p99": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 3),
    }
    _line(case, len(ordered), figures, unit, bound)


def value(case: str, figure: float, unit: str, *, n: int = 1, bound: float | None = None) -> None:
    """Print one figure; `n` is how many things it is about, or how many runs it is a median of."""
    _line(case, n, {"value": round(figure, 3)}, unit, bound)


def series(case: str, values: Sequence[float], unit: str) -> None:
    """Print figures whose order tells something."""
    _line(case, len(values), {"values": [round(each, 2) for each in values]}, unit)


def figures(case: str, found: Mapping[str, float]) -> None:
    """Print several figures of one case; each names its unit."""
    _line(case, 1, found, "")


def _line(
    case: str,
    n: int,
    figures: Mapping[str, float | Sequence[float]],
    unit: str,
    bound: float | None = None,
) -> None:
    limit = {} if bound is None else {"bound": bound}
    line = {"case": case, "n": n, **figures, "unit": unit, **limit, "commit": _commit()}
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    print(json.dumps({**line, "machine": machine}), flush=True)


@cache
def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"
