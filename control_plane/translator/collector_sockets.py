"""The unix sockets between an Envoy and its collector, in a folder of the site's machine."""

from typing import Final

LONGEST: Final = 107
"""Bytes of a socket's path that Linux takes."""

_LONGEST_FOLDER: Final = LONGEST - len("/collector.sock")


def collector_socket(folder: str) -> str:
    """Return where the collector listens: the endpoint of the clusters of fan-outs."""
    return f"{folder}/collector.sock"


def validations_socket(folder: str) -> str:
    """Return where the collector listens for validations of tokens, if it caches them."""
    return f"{folder}/validate.sock"


def collect_socket(folder: str) -> str:
    """Return where the Envoy's listener `collect` listens, which the collector asks."""
    return f"{folder}/collect.sock"


def folder_problem(folder: str) -> str | None:
    """Return why sockets cannot be in a folder, or None if they can."""
    if not folder.startswith("/"):
        return "it is not an absolute path"
    if len(folder.encode()) > _LONGEST_FOLDER:
        return f"it has more than {_LONGEST_FOLDER} bytes, so no socket fits in it"
    if not folder.isprintable():
        return "it has characters that cannot be printed"
    return None
