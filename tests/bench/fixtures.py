"""What the benches of the whole share: the import path of the harness, and many clouds."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

REPOSITORY = Path(__file__).parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests" / "support")]

from harness.fleet import at, manifest  # noqa: E402
from harness.stack import Stack  # noqa: E402
from scopeway.control_plane.clouds.model import Cloud  # noqa: E402 - the path has to be there first

ACCEPT_ALL = [{"clouds": ["[tier=edge]"]}]
LABELS = {"tier": "edge"}


def clouds(count: int, port: int, *, first: int = 0) -> list[Cloud]:
    """Return clouds whose one service, of images, is at a port on loopback."""
    services = {"image": {"endpoints": [at(port)]}}
    return [
        manifest(f"edge-{number}", LABELS, services=services, accept=ACCEPT_ALL)
        for number in range(first, first + count)
    ]


@contextmanager
def stack() -> Iterator[Stack]:
    """Start a real etcd in a temporary folder, and end all that was started."""
    with TemporaryDirectory(prefix="scopeway-bench-") as folder, Stack(Path(folder)) as made:
        yield made
