"""How many connections clients get of the files that a process may open."""

import resource
import subprocess
import sys

import pytest

from scopeway.control_plane.runtime.fd_limits import ENOUGH, RESERVE, client_share


@pytest.mark.parametrize(
    ("descriptors", "connections"),
    [
        (100, 50),
        (2 * RESERVE, RESERVE),
        (1024, 1024 - RESERVE),
        (10_000 + RESERVE, 10_000),
        (1 << 20, 10_000),
        (resource.RLIM_INFINITY, 10_000),
    ],
)
def test_clients_get_the_file_descriptors_above_the_reserve(
    descriptors: int, connections: int
) -> None:
    assert client_share(descriptors, 10_000) == connections


@pytest.mark.parametrize(
    ("soft", "hard", "after", "connections"), [(100, 1000, 1000, 744), (700, 700, 700, 444)]
)
def test_the_limit_of_file_descriptors_is_raised_up_to_the_hard_limit(
    soft: int, hard: int, after: int, connections: int
) -> None:
    program = (
        "import resource; from scopeway.control_plane.runtime.fd_limits import connection_limit; "
        f"resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard})); "
        "print(connection_limit(10_000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert done.stdout.split() == [str(connections), str(after)], done.stderr
    assert after <= ENOUGH
