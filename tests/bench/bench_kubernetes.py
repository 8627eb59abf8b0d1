"""A control plane whose registry is a Kubernetes API server: make bench-kubernetes.

A real API server with 10,000 EdgeClouds, real `scopeway serve`s, real Envoys; docs/bench.md has the
figures. `--only PART` runs one part. Filling the API server takes a minute or two.
"""

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import fixtures  # noqa: F401 - it makes the import path of the harness
from kubernetes import parts, rolling
from kubernetes.run import Run

PARTS = {
    each.__name__: each
    for each in (parts.start, parts.status, parts.apply, parts.changes, rolling.restart)
}
"""In the order in which they run, on one API server."""


def main() -> None:
    """Run the parts that were asked for."""
    options = _options()
    with TemporaryDirectory(prefix="scopeway-bench-") as folder:
        run = Run(options, Path(folder))
        try:
            for name in options.only or PARTS:
                run.progress(name)
                PARTS[name](run)
        finally:
            run.close()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", choices=PARTS)
    parser.add_argument("--clouds", type=int, default=10_000)
    parser.add_argument("--samples", type=int, default=200, help="of an apply")
    parser.add_argument("--starts", type=int, default=5, help="of a control plane")
    parser.add_argument("--rate", type=int, default=100, help="changes a second")
    parser.add_argument("--seconds", type=int, default=20, help="of that rate")
    parser.add_argument("--idle", type=int, default=60, help="seconds without a change")
    parser.add_argument("--restarts", type=int, default=3, help="of all replicas")
    return parser.parse_args()


if __name__ == "__main__":
    main()
