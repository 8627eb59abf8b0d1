"""`python -m control_plane` is the command `scopeway`."""

from control_plane.cli import main

main()
