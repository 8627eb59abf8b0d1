"""Becomes the program that it is given, which then dies with the process that started this one.

It covers the end that no `finally` sees, SIGKILL. A script of its own, because nothing may run
between fork and exec in a process that has used gRPC. Linux only.

    die_with_parent.py PARENT PROGRAM ARGUMENT...
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Goes on as PROGRAM; returns only where PARENT is gone already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == int(sys.argv[1]):  # else it was killed before the line above
        os.execvp(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
