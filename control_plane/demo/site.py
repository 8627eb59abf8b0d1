"""The value of one site of the demo: names, ports, folders and addresses.

Pure; everything that is started or written somewhere takes its place from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.demo.ports import ADDRESS, free_ports

PASSWORD = "scopeway-demo"
"""Of every user, in every cloud of the demo."""
SMALL = ("identity", "image")
"""The services of a site of `make demo`."""
_PORTS_OF_AN_ENVOY = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One cloud with services and an Envoy of its own."""

    name: str
    folder: Path
    """Of this site alone."""
    services: Mapping[str, int]
    """Service type to the port of the service itself, past the Envoy."""
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
        return f"http://{ADDRESS}:{self.services['identity']}"

    @property
    def access_log(self) -> Path:
        """What this site's Envoy writes for each request."""
        return self.folder / "access.log"


def make_sites(
    names: Sequence[str], root: Path, *, services: Sequence[str] = SMALL
) -> tuple[Site, ...]:
    """Sites with free ports and an existing folder below `root` each."""
    ports = iter(free_ports((len(services) + _PORTS_OF_AN_ENVOY) * len(names)))
    sites = tuple(
        Site(
            name=name,
            folder=root / name,
            services={service: next(ports) for service in services},
            front=next(ports),
            peer=next(ports),
            envoy_admin=next(ports),
        )
        for name in names
    )
    for site in sites:
        site.folder.mkdir(parents=True)
    return sites
