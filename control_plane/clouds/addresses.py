"""Whether an address is in a list of allowed networks and host names."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

AllowedAddress = IPv4Network | IPv6Network | str
"""A network, or a host name as in a manifest. DNS decides which addresses a host name has."""

LOOPBACK: tuple[AllowedAddress, ...] = (
    ip_network("127.0.0.0/8"),
    ip_network("::1/128"),
    "localhost",
)


def is_loopback(address: str) -> bool:
    """Return whether an address is a loopback address."""
    return is_allowed(address, LOOPBACK)


def is_allowed(address: str, allowed: tuple[AllowedAddress, ...]) -> bool:
    """Return whether an address is in one of the allowed networks, or is an allowed host name.

    Two kinds of addresses are never allowed, because the system connects to other addresses: IPv4
    addresses written as IPv6 (`::ffff:127.0.0.1`), and the unspecified addresses (`0.0.0.0`, `::`),
    which lead to the machine itself.
    """
    ip = _ip(address)
    if ip is None:
        return address in allowed
    if ip.is_unspecified or (isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None):
        return False
    return any(not isinstance(place, str) and ip in place for place in allowed)


@lru_cache(maxsize=16_384)
def _ip(address: str) -> IPv4Address | IPv6Address | None:
    """Parse an address; None if it is a host name. Cached, because parsing is slow."""
    try:
        return ip_address(address)
    except ValueError:
        return None
