"""The origins (host and path) under which a service may name itself in links of its answers.

The data plane rewrites links with these origins, and leaves all other links alone.
"""

from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.clouds.urls import front_url, service_urls

_DEFAULT_PORTS = (":80", ":443")


def link_origins(cloud: Cloud, service: str) -> tuple[str, ...]:
    """Return each origin once: a host with port as in a URL, in lower case, and a path prefix.

    They are the host and the addresses of the manifest, and the service at the cloud's own front.
    """
    own = cloud.services[service]
    found = [f"{_authority(own.host)}{own.path}"] if own.host else []
    for endpoint in own.endpoints:
        host = f"[{endpoint.address}]" if ":" in endpoint.address else endpoint.address
        found.append(f"{_authority(f'{host}:{endpoint.port}')}{own.path}")
    if cloud.front is not None:
        urls = service_urls(cloud.front)
        if service in urls:
            found.append(_authority(urls[service].partition("://")[2]))
        found.append(f"{_authority(front_url(cloud.front).partition('://')[2])}/{service}")
    return tuple(dict.fromkeys(found))


def _authority(text: str) -> str:
    text = text.lower()
    for port in _DEFAULT_PORTS:
        text = text.removesuffix(port)
    return text
