"""What the plug-in adds to every `openstack` command: python tests/bench/bench_client.py.

A sample is the import of the plug-in in a Python of its own, beside that of argparse, which the
command has loaded anyhow; then the first scope that is read, which loads the parser.
"""

import subprocess
import sys

import report

SAMPLES = 20
CASES = {
    "import of the plug-in": "import scopeway.control_plane.openstack_client.plugin",
    "first scope that is read": (
        "from scopeway.control_plane.scope import parse_scope; parse_scope('{glance:cloud-2}')"
    ),
}
TIMED = "import argparse, time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"


def main() -> None:
    """Print the milliseconds of each case."""
    for case, statement in CASES.items():
        command = [sys.executable, "-c", TIMED.format(statement)]
        runs = [
            subprocess.run(command, cwd=report.REPOSITORY, capture_output=True, check=True)
            for _ in range(SAMPLES)
        ]
        report.samples(case, [float(run.stdout) * 1000 for run in runs], "ms")


if __name__ == "__main__":
    main()
