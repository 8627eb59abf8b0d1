"""The URLs of a front for clients, as in catalogs and links.

Invariant: no URL here has a slash at its end.
"""

from collections.abc import Mapping

from scopeway.control_plane.clouds.model import Front


def is_secure(front: Front) -> bool:
    """Return whether clients use TLS to the front, or to a load balancer before it."""
    return front.tls is not None or front.url.startswith("https:")


def front_url(front: Front) -> str:
    """Return the URL of the port that serves every service below a path prefix."""
    return front.url or f"{_scheme(front)}://{_host(front)}:{front.port}"


def service_urls(front: Front) -> Mapping[str, str]:
    """Return service type to URL for the ports that serve one service each.

    A URL has the scheme and the host of `url`, if that is set, and the number of the port.
    """
    return {
        service: f"{_scheme(front)}://{_host(front)}:{port}"
        for service, port in front.ports.items()
    }


def _scheme(front: Front) -> str:
    return "https" if is_secure(front) else "http"


def _host(front: Front) -> str:
    """Return the host as in a URL: an IPv6 address in brackets."""
    if not front.url:
        return f"[{front.address}]" if ":" in front.address else front.address
    authority = front.url.partition("://")[2]
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]
