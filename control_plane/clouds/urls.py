"""Where clients reach a front: the URLs that belong into catalogs and links.

Pure. Invariant: no URL here has a slash at its end.
"""

from collections.abc import Mapping

from scopeway.control_plane.clouds.model import Front


def is_secure(front: Front) -> bool:
    """Whether clients speak TLS to a front, or to what stands before it."""
    return front.tls is not None or front.url.startswith("https:")


def front_url(front: Front) -> str:
    """Return the URL of the port that serves every service below a path prefix."""
    return front.url or f"{_scheme(front)}://{_host(front)}:{front.port}"


def service_urls(front: Front) -> Mapping[str, str]:
    """Return service type to URL for the ports of one service each.

    They have the scheme and the host of `url`, where that is given, and their own number.
    """
    return {
        service: f"{_scheme(front)}://{_host(front)}:{port}"
        for service, port in front.ports.items()
    }


def _scheme(front: Front) -> str:
    return "https" if is_secure(front) else "http"


def _host(front: Front) -> str:
    """The host as a URL has it: an IPv6 address in brackets."""
    if not front.url:
        return f"[{front.address}]" if ":" in front.address else front.address
    authority = front.url.partition("://")[2]
    if authority.startswith("["):
        return authority.partition("]")[0] + "]"
    return authority.partition(":")[0]
