"""The sockets of a collector: files in a folder that others cannot write to.

`collector.sock` and `validate.sock` are this process's, `collect.sock` is Envoy's. Who may open
them may use tokens of others, and name the origin: so their mode is 0660, and both ends look whose
process it is.
"""

import fcntl
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from scopeway.control_plane.errors import ControlPlaneError

COLLECTOR: Final = "collector.sock"
COLLECT: Final = "collect.sock"
VALIDATIONS: Final = "validate.sock"
LOCK: Final = "collector.lock"
MAX_PATH: Final = 107
"""Bytes of a path of a unix socket."""
MODE: Final = 0o660


class Listening:
    """`collector.sock`, for as long as it is listened on."""

    def __init__(self, folder: Path) -> None:
        """Bind the socket; make the folder if there is none.

        The socket of a collector that has died is replaced: a lock, which dies with its process,
        says whether one lives.

        Raises:
            ControlPlaneError: Another collector lives, or the folder is not safe.
            OSError: The folder cannot be used.
        """
        self.path = folder / COLLECTOR
        _check_folder(folder)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise ControlPlaneError(
                f"{self.path}: another collector listens there; stop it, or name another folder"
            ) from None
        try:
            self.socket = bound_socket(self.path)
        except BaseException:
            os.close(self._lock)
            raise

    def close(self) -> None:
        """Remove the file, and let another collector begin."""
        with suppress(FileNotFoundError):
            self.path.unlink()
        self.socket.close()
        os.close(self._lock)


def bound_socket(path: Path) -> socket.socket:
    """Return a socket that is bound to a path, in place of the file of a collector that has died.

    The caller has made sure that no other collector uses the folder (`Listening`).

    Raises:
        ControlPlaneError: Another kind of file is there.
        OSError: The folder cannot be used.
    """
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise ControlPlaneError(f"{path} is not a socket; remove it, or name another folder")
        path.unlink()
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777 & ~MODE)
    try:
        made.bind(str(path))
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _check_folder(folder: Path) -> None:
    longest = folder / COLLECTOR
    size = len(os.fsencode(longest))
    if not folder.is_absolute():
        raise ControlPlaneError(f"{folder} is not an absolute path")
    if size > MAX_PATH:
        raise ControlPlaneError(
            f"{longest} has {size} bytes; a socket's path has at most {MAX_PATH}: name a shorter "
            "folder"
        )
    if not folder.parent.is_dir():
        raise ControlPlaneError(
            f"{folder} cannot be made: there is no folder {folder.parent}; make it, or name another"
        )
    folder.mkdir(mode=0o750, exist_ok=True)
    found = folder.stat()
    if not stat.S_ISDIR(found.st_mode):
        raise ControlPlaneError(f"{folder} is not a folder")
    if found.st_mode & stat.S_IWOTH:
        raise ControlPlaneError(
            f"{folder} can be written to by everybody: chmod o-w, or name another folder"
        )
