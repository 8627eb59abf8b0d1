"""The limit of file descriptors, and how many of them are for connections of clients.

A process without a free descriptor can use neither the registry nor the admin address, and gRPC
loops over connections that it cannot accept. So clients get a part of the descriptors only.
"""

import resource
from contextlib import suppress

RESERVE = 256
"""Descriptors for the registry, the admin address and files, which need a few dozen."""
ENOUGH = 65_536


def connection_limit(most: int) -> int:
    """Raise the limit of this process as far as it may; return how many connections clients get.

    Args:
        most: What they are to get where the limit allows it; some thousands.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _is_less(soft, ENOUGH):
        wanted = ENOUGH if not _is_less(hard, ENOUGH) else hard
        with suppress(ValueError, OSError):  # some systems have another limit besides
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return client_share(soft, most)


def client_share(descriptors: int, most: int) -> int:
    """Return how many of so many descriptors clients get: half at least, and never above `most`."""
    if descriptors == resource.RLIM_INFINITY:
        return most
    return min(most, max(descriptors - RESERVE, descriptors // 2))


def _is_less(limit: int, number: int) -> bool:
    return limit != resource.RLIM_INFINITY and limit < number
