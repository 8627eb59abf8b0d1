"""Free TCP ports on 127.0.0.1 for servers that are told their port before they start."""

import random
import socket
from collections import deque
from collections.abc import Iterable

# Below the range from which Linux (32768) and macOS (49152) take the ports of outgoing
# connections: a port from there may be in use again before its server binds it.
FIRST, LAST = 18000, 32000
ADDRESS = "127.0.0.1"

_given: deque[int] = deque(maxlen=1000)
"""What was handed out last: its server may not listen yet."""


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listens on at this moment, and that were not given before."""
    held: list[socket.socket] = []
    try:
        for port in random.sample(range(FIRST, LAST), LAST - FIRST):
            if len(held) == count:
                break
            if port not in _given and (bound := _bind(port)) is not None:
                held.append(bound)
        ports = [int(bound.getsockname()[1]) for bound in held]
        _given.extend(ports)
        return ports
    finally:
        for bound in held:
            bound.close()


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this port."""
    try:
        socket.create_connection((ADDRESS, port), timeout=1).close()
    except OSError:
        return False
    return True


def all_listen(ports: Iterable[int]) -> bool:
    """Whether somebody accepts connections on each of these ports."""
    return all(listens(port) for port in ports)


def _bind(port: int) -> socket.socket | None:
    candidate = socket.socket()
    candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        candidate.bind((ADDRESS, port))
    except OSError:
        candidate.close()
        return None
    return candidate
