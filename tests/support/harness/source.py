"""A source with an inventory that changes, and without streams."""

from collections.abc import Collection, Generator, Mapping

from envoy_data_plane.envoy.config.cluster.v3 import Cluster

from scopeway.control_plane.clouds.declared_types import DeclaredTypes, declare
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import (
    AcceptRule,
    Cloud,
    CloudPattern,
    Endpoint,
    Peer,
    Service,
)
from scopeway.control_plane.clouds.service_type import ServiceType
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.planner.prefetch import parse_prefetch
from scopeway.control_plane.serving.limits import SourceLimits
from scopeway.control_plane.serving.policy_index import Timer
from scopeway.control_plane.serving.prefetch_set import PrefetchSet
from scopeway.control_plane.serving.site_cache import SiteResources
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.serving.staleness import Staleness
from scopeway.control_plane.translator.node_setup import PROTOCOL, Setup
from scopeway.xds.resource import Resource
from scopeway.xds.source import Node, NodeView
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET

ANYBODY = CloudPattern(labels={"fleet": "f"})


class Recorder:
    """A notifier that remembers what it was told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, frozenset[str] | None, str]] = []

    def resources_changed(self, type_url: str, names: Collection[str], group: str) -> None:
        self.told.append((type_url, frozenset(names), group))

    def wildcard_changed(self, type_url: str, group: str) -> None:
        self.told.append((type_url, None, group))

    def caught_up(self) -> Generator[None, None, None]:
        self.told.append(("", None, ""))
        yield


BROKEN = "/broken"
"""The access log of an Envoy, or a label of a cloud, whose site cannot be made."""


def site(cloud: Cloud, setup: Setup, types: DeclaredTypes) -> SiteResources:
    """Stand in for the listeners, routes and filters of a site."""
    if setup.access_log == BROKEN or BROKEN in cloud.labels.values():
        raise ValueError("this site cannot be made")
    fronts = {f"front/{service}": b"port" for service in cloud.services}
    made = {
        LISTENER: {"front": cloud.name.encode(), "peer": b"peer", **fronts},
        ROUTE: {"front": b"route"},
        SECRET: {"front": b"files"},
        EXTENSION: {
            "lua/front": " ".join(["lua", setup.access_log, *sorted(types.types)]).encode()
        },
    }
    return one_by_one(made)


def one_by_one(made: Mapping[str, Mapping[str, bytes]]) -> SiteResources:
    """Yield the resources of a site."""
    for type_url, resources in made.items():
        for name, body in resources.items():
            yield type_url, name, body


def peered(name: str, *accepted: CloudPattern) -> Cloud:
    return Cloud(
        name=name,
        peer=Peer(address="127.0.0.1", port=1),
        accept=(AcceptRule(clouds=accepted),) if accepted else (),
    )


class Fleet:
    """A source, its inventory, and what it told."""

    def __init__(
        self,
        *clouds: Cloud,
        limits: SourceLimits | None = None,
        prefetch: str = "",
        trust_domain: str | None = None,
        timer: Timer | None = None,
    ) -> None:
        self.notifier = Recorder()
        self.staleness = Staleness()
        self.inventory = Inventory().apply({cloud.name: cloud for cloud in clouds})
        self.source = ScopewaySource(
            inventory=self.inventory,
            notifier=self.notifier,
            make_site=site,
            settings=PlanSettings(trust_domain=trust_domain),
            staleness=self.staleness,
            limits=limits,
            timer=timer,
            prefetch=PrefetchSet([parse_prefetch(prefetch)], self.inventory) if prefetch else None,
        )

    def attach(
        self,
        name: str = "cloud-1",
        access_log: str = "",
        collector: str = "",
        validations: str = "",
    ) -> NodeView:
        return self.source.attach(
            node(name, access_log=access_log, collector=collector, validations=validations)
        )

    def put(self, *clouds: Cloud) -> None:
        self.change({cloud.name: cloud for cloud in clouds})

    def delete(self, *names: str) -> None:
        self.change({}, names)

    def cordon(self, changes: Mapping[str, str | None]) -> None:
        self.notifier.told.clear()
        self.inventory = self.inventory.with_cordons(changes)
        self.source.update(self.inventory, changes.keys())

    def declare(self, *types: ServiceType) -> None:
        """Declare these service types, and no others."""
        self.notifier.told.clear()
        self.inventory = self.inventory.with_service_types(declare(types)[0])
        self.source.update(self.inventory, ())

    def change(self, upserts: Mapping[str, Cloud], deletes: Collection[str] = ()) -> None:
        self.notifier.told.clear()
        self.inventory = self.inventory.apply(upserts, deletes)
        self.source.update(self.inventory, frozenset({*upserts, *deletes}))


def node(
    cloud: str,
    protocol: str | None = PROTOCOL,
    access_log: str = "",
    collector: str = "",
    validations: str = "",
) -> Node:
    metadata = {} if protocol is None else {"scopeway.protocol": protocol}
    if collector:
        metadata["scopeway.collector"] = collector
    if validations:
        metadata["scopeway.validations"] = validations
    if access_log:
        metadata["scopeway.access_log"] = access_log
    return Node(id=f"{cloud}/0", cluster=cloud, metadata=metadata)


def cloud(name: str, port: int = 9292, **labels: str) -> Cloud:
    return Cloud(
        name=name,
        labels={"fleet": "f", **labels},
        services={"image": Service(endpoints=(Endpoint(address="127.0.0.1", port=port),))},
        accept=(AcceptRule(clouds=(ANYBODY,)),),
    )


def status(view: NodeView, name: str) -> str | None:
    """Return the status of a negative cluster, None for one that serves."""
    resource = view.resource(CLUSTER, name)
    assert isinstance(resource, Resource)
    assert resource.name == name
    metadata = Cluster.parse(resource.body).metadata
    assert metadata is not None
    found: str | None = metadata.filter_metadata["scopeway"].to_dict().get("status")
    return found
