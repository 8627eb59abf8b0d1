"""Which addresses the operator allows: networks and host names."""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

AllowedAddress = IPv4Network | IPv6Network | str
"""A network, or a host name as manifests have it: what that resolves to, its zone says."""

LOOPBACK: tuple[AllowedAddress, ...] = (
    ip_network("127.0.0.0/8"),
    ip_network("::1/128"),
    "localhost",
)


def is_loopback(address: str) -> bool:
    """Return whether an address is reached from its own machine only."""
    return is_allowed(address, LOOPBACK)


def is_allowed(address: str, allowed: tuple[AllowedAddress, ...]) -> bool:
    """Return whether an IP address is in one of some networks, or a host name is one of them.

    Two kinds are in no network, since the system connects somewhere else than they say: an IPv4
    address written as IPv6 (`::ffff:127.0.0.1`), which no list of IPv6 networks means, and the
    unspecified address (`0.0.0.0`, `::`), which leads to the machine itself.
    """
    ip = _ip(address)
    if ip is None:
        return address in allowed
    if ip.is_unspecified or (isinstance(ip, IPv6Address) and ip.ipv4_mapped is not None):
        return False
    return any(not isinstance(place, str) and ip in place for place in allowed)


@lru_cache(maxsize=16_384)
def _ip(address: str) -> IPv4Address | IPv6Address | None:
    """Read an address, which takes longer than all else about it; None: it is a host name."""
    try:
        return ip_address(address)
    except ValueError:
        return None
