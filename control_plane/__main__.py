"""`python -m control_plane` is the command `scopeway`."""

from scopeway.control_plane.cli import main

main()
