"""The control plane at the size it is made for: python tests/bench/bench_fleet.py [--only PART].

10,000 clouds in a real etcd, a real `scopeway serve`, and 1,000 streams of delta ADS, each of an
Envoy that uses 50 targets, from a process of their own (`fleet/`). The floor beside a figure is
what a bare `grpc.aio` server takes for the same bytes to the same streams, in the same run. The
whole takes some four minutes; the table at its end is that of docs/bench.md.
"""

import argparse
from contextlib import ExitStack

from fixtures import stack
from fleet import parts
from fleet.run import Run
from fleet.table import Table

PARTS = {
    each.__name__: each
    for each in (
        parts.memory,
        parts.fanout,
        parts.changes,
        parts.idle_changes,
        parts.reconnect,
        parts.replicas,
        parts.labels,
    )
}
"""In the order in which they run, on one set of processes."""
SMALL = {"clouds": 1_000, "streams": 100, "seconds": 20}
"""Another set, for `changes` and `idle_changes`: as many users of a cloud, of a tenth of all."""


def main() -> None:
    """Run the parts that were asked for, and print the table."""
    options = _options()
    table = Table()
    wanted = options.only or [*PARTS, "small"]
    if wanted != ["small"]:
        _run(options, table, [each for each in wanted if each != "small"])
    if "small" in wanted:
        small = argparse.Namespace(**{**vars(options), **SMALL})
        _run(small, table, ["changes", "idle_changes"])
    table.print()


def _run(options: argparse.Namespace, table: Table, names: list[str]) -> None:
    with stack() as started, ExitStack() as closing:
        run = Run(options, table, started, closing)
        for name in names:
            run.progress(name)
            PARTS[name](run)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=[*PARTS, "small"])
    parser.add_argument("--clouds", type=int, default=10_000)
    parser.add_argument("--streams", type=int, default=1_000)
    parser.add_argument("--targets", type=int, default=50, help="of each stream")
    parser.add_argument("--rounds", type=int, default=20, help="changes of one cloud")
    parser.add_argument("--rate", type=int, default=100, help="changes a second")
    parser.add_argument("--seconds", type=int, default=60, help="of that rate")
    parser.add_argument("--settle", type=float, default=12.0, help="seconds before memory is read")
    return parser.parse_args()


if __name__ == "__main__":
    main()
