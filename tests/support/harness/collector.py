"""A real collector as a child process."""

import sys
from pathlib import Path

from harness.process import Process


def start_collector(cloud: str, folder: Path, *options: object) -> Process:
    """Start `scopeway collect`; it answers when this returns.

    Args:
        cloud: Whose collector it is.
        folder: Of the sockets.
        options: More of them.
    """
    command = [sys.executable, "-m", "scopeway.control_plane", "collect", cloud]
    command += ["--socket-dir", str(folder), *map(str, options)]
    process = Process(f"collector-{cloud}", command, folder.parent)
    process.launch()
    sockets = ["collector.sock"]
    if "--cache-validations" in command:
        sockets.append("validate.sock")
    process.wait_until(
        lambda: all((folder / name).exists() for name in sockets), f"{sockets} are there"
    )
    return process
