"""An xDS server that gives Envoys resources of two versions, mixed by type.

What each version's control plane sends to an Envoy is asked of it, and kept as it came.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import grpc
from envoy_data_plane.envoy.config.core.v3 import Node as NodeMessage
from envoy_data_plane.envoy.service.discovery.v3 import DeltaDiscoveryResponse
from envoy_data_plane.google.protobuf import Struct

from harness.background import Background
from harness.identities import Identities
from harness.process import until
from scopeway.control_plane.identity.files import IdentityFiles
from scopeway.control_plane.translator.node_setup import EARLIER
from scopeway.xds.encoding.messages import resource
from scopeway.xds.events import Acked, Event, Nacked
from scopeway.xds.grpc_server.server import serve
from scopeway.xds.notifier import ChangeNotifier
from scopeway.xds.resource import Resource
from scopeway.xds.security import Certificates, Security
from scopeway.xds.source import Node
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET
from xds_model import write_request

TYPES = CLUSTER, LISTENER, ROUTE, SECRET, EXTENSION
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
SECONDS = 10.0

Resources = Mapping[tuple[str, str], Resource]
"""By type URL and name."""


def sent(port: int, identities: Identities, cloud: str, targets: Collection[str]) -> Resources:
    """Return what a control plane sends to an Envoy of before: its site's, and these clusters."""
    files = identities.of(cloud)
    subscriptions: dict[str, Collection[str]] = {
        CLUSTER: targets,
        LISTENER: (),  # all of them
        ROUTE: ("front", "peer"),
        EXTENSION: ("lua/front", "lua/peer", "lua/dispatch", "links"),
        SECRET: ("identity", "authorities"),
    }
    node = bytes(_node(cloud, files))
    requests = [
        write_request(type_url, subscribe=names, node=node if type_url == CLUSTER else None)
        for type_url, names in subscriptions.items()
    ]
    credentials = grpc.ssl_channel_credentials(
        files.authorities.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        answers = channel.stream_stream(METHOD)(iter(requests), timeout=SECONDS)
        found = [each for data in answers for each in _resources(data)]
    made = {(each.type_url, each.name): each for each in found}
    wanted = {(type_url, name) for type_url, names in subscriptions.items() for name in names}
    assert wanted <= made.keys(), wanted - made.keys()
    return made


def _node(cloud: str, files: IdentityFiles) -> NodeMessage:
    paths = {"certificate": files.certificate, "key": files.key, "authorities": files.authorities}
    identity = {name: str(path) for name, path in paths.items()}
    setup = {"protocol": EARLIER, "access_log": "/dev/stdout", "identity": identity}
    metadata = Struct.from_dict({"scopeway": setup})
    return NodeMessage(id=f"{cloud}/asked", cluster=cloud, metadata=metadata)


def _resources(data: bytes) -> Iterable[Resource]:
    response = DeltaDiscoveryResponse.parse(data)
    for each in response.resources:
        assert each.resource is not None
        yield resource(response.type_url, each.name, each.resource.value)


@dataclass
class Mixture:
    """A source that has for each cloud some sets of resources, of which it shows one by type."""

    sets: dict[str, list[Resources]]
    chosen: dict[tuple[str, str], int] = field(default_factory=dict)
    """Cloud and type URL to the number of the set; the first where it isn't here."""
    asked: set[tuple[str, str]] = field(default_factory=set)
    """Cloud and type URL."""

    def type_urls(self) -> Collection[str]:
        return TYPES

    def attach(self, node: Node) -> "_View":
        return _View(self, node.cluster)

    def resources(self, cloud: str, type_url: str) -> Resources:
        return self.sets[cloud][self.chosen.get((cloud, type_url), 0)]

    def names(self, cloud: str, type_url: str) -> set[str]:
        return {name for each, name in self.resources(cloud, type_url) if each == type_url}


@dataclass
class _View:
    mixture: Mixture
    group: str

    def resource(self, type_url: str, name: str) -> Resource | None:
        self.mixture.asked.add((self.group, type_url))
        return self.mixture.resources(self.group, type_url).get((type_url, name))

    def wildcard(self, type_url: str) -> Collection[str]:
        if type_url not in (CLUSTER, LISTENER):
            return []
        self.mixture.asked.add((self.group, type_url))
        return self.mixture.names(self.group, type_url)

    def close(self) -> None:
        pass


class MixtureServer:
    """Serves a mixture, as a control plane with a certificate."""

    def __init__(self, mixture: Mixture, background: Background, files: IdentityFiles) -> None:
        self._mixture = mixture
        self._background = background
        self._hub = ChangeNotifier()
        self._acked: Counter[tuple[str, str]] = Counter()
        self._rejected: list[Nacked] = []
        certificates = Certificates(
            certificate=files.certificate.read_bytes(),
            key=files.key.read_bytes(),
            authorities=files.authorities.read_bytes(),
        )
        security = Security(certificates=certificates)
        self._serving = serve(
            mixture, listen="127.0.0.1:0", notifier=self._hub, security=security, observer=self
        )
        self.port: int = background.run(self._serving.__aenter__()).port

    def close(self) -> None:
        self._background.run(self._serving.__aexit__(None, None, None))

    def observe(self, node: Node | None, event: Event) -> None:
        """See `xds.events.Observer`."""
        if node is not None and isinstance(event, Acked):
            self._acked[node.cluster, event.type_url] += 1
        elif isinstance(event, Nacked):
            self._rejected.append(event)

    def choose(self, cloud: str, type_url: str, number: int) -> None:
        """Show another set of a type to a cloud's Envoy, and wait until it has taken it."""
        before = self._acked[cloud, type_url]
        self._background.call(partial(self._choose, cloud, type_url, number))
        until(lambda: self._acked[cloud, type_url] > before or self._rejected, "it is taken")
        assert not self._rejected

    def _choose(self, cloud: str, type_url: str, number: int) -> None:
        self._mixture.chosen[cloud, type_url] = number
        names = {
            name for each, name in self._mixture.resources(cloud, type_url) if each == type_url
        }
        self._hub.resources_changed(type_url, names, group=cloud)

    def wait_for(self, cloud: str) -> None:
        """Wait until an Envoy has asked for all types."""
        wanted = {(cloud, each) for each in TYPES}
        until(lambda: wanted <= self._mixture.asked, f"{cloud} is served")
