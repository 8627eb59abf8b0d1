"""Writes the definitions and the admission policies (`make crds`)."""

import sys
from pathlib import Path

from scopeway.control_plane.custom_resources.files import files


def main() -> int:
    """Write all files below the folder that the command line names."""
    if len(sys.argv) != 2:
        print("usage: python -m scopeway.control_plane.custom_resources FOLDER", file=sys.stderr)
        return 2
    folder = Path(sys.argv[1])
    for name, text in files().items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
