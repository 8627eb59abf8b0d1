"""Free ports on loopback."""

import random
import socket

LOWEST, HIGHEST = 10_000, 32_000
"""Below what Linux gives to outgoing connections: none takes a port while its server restarts."""


def free_ports(count: int) -> list[int]:
    """Return so many distinct ports that nobody listened at a moment ago."""
    sockets: list[socket.socket] = []
    try:
        while len(sockets) < count:
            try:
                port = random.randrange(LOWEST, HIGHEST)
                sockets.append(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
