"""The running process: starts the parts, ties them, and looks after memory, files and signals."""
