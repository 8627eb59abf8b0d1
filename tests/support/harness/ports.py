"""Free TCP ports on loopback, for servers that are told their port before they start."""

import random
import socket
from collections import deque
from collections.abc import Iterable

ADDRESS = "127.0.0.1"
LOWEST, HIGHEST = 10_000, 32_000
"""Below what Linux (32768) and macOS (49152) give to outgoing connections: none takes a port before
its server listens, or while it restarts."""

_given: deque[int] = deque(maxlen=1000)
"""What was handed out last: its server may not listen yet."""


def free_ports(count: int) -> list[int]:
    """Return so many distinct ports that nobody listened at a moment ago, and none given before.

    Raises:
        OSError: there are not so many.
    """
    sockets: list[socket.socket] = []
    try:
        for port in random.sample(range(LOWEST, HIGHEST), HIGHEST - LOWEST):
            if len(sockets) == count:
                break
            if port not in _given and (listening := _listen(port)) is not None:
                sockets.append(listening)
        if len(sockets) < count:
            raise OSError(f"no {count} free ports from {LOWEST} to {HIGHEST}")
        ports = [int(each.getsockname()[1]) for each in sockets]
        _given.extend(ports)
        return ports
    finally:
        for each in sockets:
            each.close()


def free_port() -> int:
    """Return one of them."""
    (port,) = free_ports(1)
    return port


def listens(port: int) -> bool:
    """Return whether somebody accepts connections on this port."""
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True


def all_listen(ports: Iterable[int]) -> bool:
    """Return whether somebody accepts connections on each of these ports."""
    return all(listens(port) for port in ports)


def _listen(port: int) -> socket.socket | None:
    try:
        return socket.create_server((ADDRESS, port))
    except OSError:
        return None
