"""How many files and connections the process may have open, and how many of them clients get.

Where there are none left, nothing works: not the registry, not the admin address, and accepting
connections becomes a loop. So clients get fewer than there are.
"""

import resource
from contextlib import suppress

RESERVE = 256
"""For all but clients: the registry, the admin address, files; they need a few dozen."""
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
