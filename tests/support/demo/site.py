"""The value of one site of the demo: names, ports, folders and addresses.

Pure; everything that is started or written somewhere takes its place from here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.ports import ADDRESS, free_ports

PASSWORD = "scopeway-demo"
"""Of every user, in every cloud of the demo."""
REGION = "RegionOne"
"""Of every endpoint, as nearly all clouds have it; clients and services look for it."""
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
    front_ports: Mapping[str, int] = field(default_factory=dict)
    """Service type to the port that the front has for this service alone; most have none."""
    elsewhere: tuple[str, ...] = ()
    """Service types that only other clouds have, though this one's catalog has a row for them."""

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

    @property
    def collector_folder(self) -> Path:
        """The sockets that the Envoy shares with a collector, if one is started."""
        return self.folder / "collector"


def make_sites(
    names: Sequence[str],
    root: Path,
    *,
    services: Sequence[str] = SMALL,
    only: Mapping[str, Sequence[str]] | None = None,
    front_ports: Sequence[str] = (),
) -> tuple[Site, ...]:
    """Sites with free ports and an existing folder below `root` each.

    Args:
        services: Of every site.
        only: Site to services that no other site has, though all have them in their catalogs.
        front_ports: The services for which each front has a port of its own.
    """
    special = only or {}
    total = len(services) + len(front_ports) + _PORTS_OF_AN_ENVOY
    ports = iter(free_ports(total * len(names) + sum(map(len, special.values()))))
    sites = tuple(
        Site(
            name=name,
            folder=root / name,
            services={kind: next(ports) for kind in (*services, *special.get(name, ()))},
            front=next(ports),
            peer=next(ports),
            envoy_admin=next(ports),
            front_ports={kind: next(ports) for kind in front_ports},
            elsewhere=tuple(
                kind for owner, kinds in special.items() if owner != name for kind in kinds
            ),
        )
        for name in names
    )
    for site in sites:
        site.folder.mkdir(parents=True)
    return sites
