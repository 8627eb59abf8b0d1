"""The version before this one, from git: what has to work beside this one (docs/upgrades.md).

Its processes run from its sources, with the libraries of this environment: `python -m` looks in the
current folder first. Both versions pin the same libraries, so an environment of its own would hold
the same, and take a minute to make.
"""

import shutil
import subprocess
from pathlib import Path

COMMIT = "e99f48cc1d4f6899b4fb40c2016796d9ae3c5583"
"""The version before."""

REPOSITORY = Path(__file__).parents[3]


def is_at_hand() -> bool:
    """Return whether git has it: an archive of the sources and a shallow clone do not."""
    has_git = shutil.which("git") is not None
    return has_git and _git("cat-file", "-e", f"{COMMIT}^{{commit}}").returncode == 0


def extract(folder: Path) -> Path:
    """Write its sources into a folder; return it."""
    folder.mkdir()
    archive = _git("archive", COMMIT)
    assert archive.returncode == 0, archive.stderr
    subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
    return folder


def control_plane_of(sources: Path) -> str:
    """Return the module path of the control plane of these sources."""
    return "scopeway.control_plane" if sources == REPOSITORY else "control_plane"


def _git(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", REPOSITORY, *arguments], capture_output=True, check=False)
