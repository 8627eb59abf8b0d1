"""Free ports on loopback."""

import random
import socket
from collections import deque

LOWEST, HIGHEST = 10_000, 32_000
"""Below what Linux gives to outgoing connections: none takes a port while its server restarts."""

_given: deque[int] = deque(maxlen=1000)
"""What was handed out last: its server may not listen yet."""


def free_ports(count: int) -> list[int]:
    """Return so many distinct ports that nobody listened at a moment ago, and none given before."""
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            try:
                port = random.randrange(LOWEST, HIGHEST)
                if port not in _given:
                    sockets.append(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
        ports = [each.getsockname()[1] for each in sockets]
        _given.extend(ports)
        return ports
    finally:
        for each in sockets:
            each.close()
