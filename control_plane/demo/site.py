"""The value of one site of the demo: names, ports, folders and addresses.

Pure; everything that is started or written somewhere takes its place from here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.demo.ports import ADDRESS, free_ports

PORTS_OF_A_SITE = 5
PASSWORD = "scopeway-demo"
"""Of every user, in every cloud of the demo."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One cloud with its own Keystone, Glance and Envoy."""

    name: str
    folder: Path
    """Of this site alone."""
    keystone: int
    glance: int
    front: int
    peer: int
    envoy_admin: int

    @property
    def front_url(self) -> str:
        """Where clients and the site's own services reach every service."""
        return f"http://{ADDRESS}:{self.front}"

    @property
    def keystone_url(self) -> str:
        """Keystone itself, past the Envoy."""
        return f"http://{ADDRESS}:{self.keystone}"

    @property
    def glance_url(self) -> str:
        """Glance itself, past the Envoy."""
        return f"http://{ADDRESS}:{self.glance}"

    @property
    def access_log(self) -> Path:
        """What this site's Envoy writes for each request."""
        return self.folder / "access.log"


def make_sites(names: Sequence[str], root: Path) -> tuple[Site, ...]:
    """Sites with free ports and an existing folder below `root` each."""
    ports = iter(free_ports(PORTS_OF_A_SITE * len(names)))
    sites = tuple(
        Site(
            name=name,
            folder=root / name,
            keystone=next(ports),
            glance=next(ports),
            front=next(ports),
            peer=next(ports),
            envoy_admin=next(ports),
        )
        for name in names
    )
    for site in sites:
        site.folder.mkdir(parents=True)
    return sites
