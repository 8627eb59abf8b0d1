"""The code path of a stream parses and encodes no message of envoy-data-plane."""

from collections.abc import Collection, Iterable, Iterator
from typing import Any

import betterproto2
import pytest

from harness.fleet import manifest
from scopeway.control_plane.clouds.addresses import LOOPBACK
from scopeway.control_plane.clouds.inventory import Inventory
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.planner.planner import PlanSettings
from scopeway.control_plane.serving.source import ScopewaySource
from scopeway.control_plane.translator import site_resources
from scopeway.xds.encoding import protobuf as wire
from scopeway.xds.encoding.messages import decode_delta_request
from scopeway.xds.notifier import ChangeNotifier, Member
from scopeway.xds.protocol.session import DeltaSession
from scopeway.xds.type_urls import CLUSTER, EXTENSION, LISTENER, ROUTE, SECRET
from xds_model import write_request

WORK = ("__bytes__", "dump", "SerializeToString", "to_dict")
CLASS_WORK = ("parse", "load", "FromString", "from_dict")
ANYBODY = [{"clouds": ["[tier=edge]"], "identity": {"clouds": ["[tier=edge]"]}}]


class Counter:
    """Which messages were made into something else, or out of it."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in WORK:
            patch.setattr(betterproto2.Message, name, self._counting(name))
        for name in CLASS_WORK:
            patch.setattr(betterproto2.Message, name, classmethod(self._counting(name)))

    def _counting(self, name: str) -> Any:
        original = betterproto2.Message.__dict__[name]
        function = getattr(original, "__func__", original)

        def count(this: Any, *arguments: Any, **options: Any) -> Any:
            kind = this if isinstance(this, type) else type(this)
            self.messages.append(f"{kind.__name__}.{name}")
            return function(this, *arguments, **options)

        return count


class Stream:
    """A client of delta ADS that ACKs everything; what it knows is kept across connections."""

    def __init__(self, source: ScopewaySource, notifier: ChangeNotifier, cloud: str) -> None:
        self._source, self._notifier = source, notifier
        self._cloud = cloud
        self.versions: dict[str, dict[str, str]] = {}
        self.received: list[str] = []

    def connect(self) -> None:
        """Begin anew, as an Envoy does that has lost its stream."""
        self._session = DeltaSession(self._source)
        self._member: Member | None = None
        for type_url in (CLUSTER, LISTENER, ROUTE, SECRET, EXTENSION):
            held = self.versions.get(type_url, {})
            wildcard = ["*"] if type_url in (CLUSTER, LISTENER) else []
            self.ask(type_url, [*wildcard, *(held or self._named(type_url))], held)

    def close(self) -> None:
        assert self._member is not None
        self._notifier.leave(self._member)
        self._session.close()

    def ask(self, type_url: str, names: Iterable[str], held: dict[str, str] | None = None) -> None:
        first = self._member is None
        node = self._node() if first else b""
        self._receive(node + write_request(type_url, subscribe=names, versions=held))

    def push(self) -> None:
        """Take what a change has made."""
        for response in self._session.responses_to_send(0):
            taken = self.versions.setdefault(response.type_url, {})
            for name, version in _read(response.data):
                taken[name] = version
                self.received.append(name)
            self._receive(write_request(response.type_url, nonce=response.nonce))

    def _receive(self, data: bytes) -> None:
        request = decode_delta_request(data, with_node=self._member is None)
        self._session.receive(request, 0)
        if self._member is None:
            self._member = self._notifier.join(self._session, self._session.group, lambda: None)
        self.push()
        self._notifier.update_interests(self._member)

    def _named(self, type_url: str) -> Collection[str]:
        if type_url in (CLUSTER, LISTENER):
            return []
        listeners = self.versions.get(LISTENER, {})
        if type_url == SECRET:
            return ["identity", "authorities"]
        return [f"lua/{each}" if type_url == EXTENSION else each for each in listeners]

    def _node(self) -> bytes:
        files = {name: f"/{name}.pem" for name in ("certificate", "key", "authorities")}
        scopeway = {"protocol": _string("1"), "identity": _struct(_strings(files))}
        metadata = _fields({"scopeway": _struct(scopeway)})
        head = wire.field_string(1, f"{self._cloud}/0") + wire.field_string(2, self._cloud)
        return wire.field_bytes(1, head + wire.field_bytes(3, metadata))


def _read(data: bytes) -> Iterator[tuple[str, str]]:
    """Yield names and versions of the resources of a response."""
    for number, start, end in wire.fields(data):
        if number == 2:
            fields = {at: data[begin:stop] for at, begin, stop in wire.fields(data, start, end)}
            yield fields[3].decode(), fields[1].decode()


def _fields(values: dict[str, bytes]) -> bytes:
    return b"".join(
        wire.field_bytes(1, wire.field_string(1, key) + wire.field_bytes(2, value))
        for key, value in values.items()
    )


def _struct(values: dict[str, bytes]) -> bytes:
    return wire.field_bytes(5, _fields(values))


def _strings(values: dict[str, str]) -> dict[str, bytes]:
    return {key: _string(value) for key, value in values.items()}


def _string(text: str) -> bytes:
    return wire.field_string(3, text)


def cloud(number: int, *, port: int = 9000) -> Cloud:
    """Return one of a fleet: some with a peer, some by name, some with many endpoints."""
    host = "service.example" if number % 3 == 2 else "127.0.0.1"
    endpoints = [{"address": host, "port": port + each} for each in range(1 + number % 7)]
    spec: dict[str, Any] = {
        "services": {service: {"endpoints": endpoints} for service in ("identity", "image")},
        "accept": ANYBODY,
    }
    if number % 2:
        spec["peer"] = {"address": "127.0.0.1", "port": port + 100}
    return manifest(f"cloud-{number}", {"tier": "edge", "region": f"r{number % 2}"}, **spec)


def home(name: str, *, port: int = 8000) -> Cloud:
    """Return a cloud with everything that an Envoy of ours can be told to be."""
    ports = {"image": port + 1, "compute": port + 2, "object-store": port + 3}
    front = {"address": "127.0.0.1", "port": port, "ports": ports}
    return manifest(
        name,
        {"tier": "edge"},
        front=front,
        peer={"address": "127.0.0.1", "port": port + 4},
        services={"image": {"endpoints": [{"address": "127.0.0.1", "port": port + 5}]}},
        accept=ANYBODY,
    )


@pytest.mark.parametrize("trust_domain", [None, "fleet.example"])
def test_no_stream_path_parses_or_encodes_a_message(
    monkeypatch: pytest.MonkeyPatch, trust_domain: str | None
) -> None:
    """First connection, first uses of every kind, changes, ACKs and a reconnect."""
    notifier = ChangeNotifier()
    inventory = Inventory().apply({each.name: each for each in map(cloud, range(20))})
    site_resources.preload(trust_domain=trust_domain)
    source = ScopewaySource(
        inventory=inventory,
        notifier=notifier,
        make_site=lambda cloud, *_: site_resources.each_site_resource(
            cloud, trust_domain=trust_domain
        ),
        settings=PlanSettings(trust_domain=trust_domain, direct=(*LOOPBACK, "service.example")),
    )
    counter = Counter()
    counter.watch(monkeypatch)

    inventory = inventory.apply({"home": home("home")})
    source.update(inventory, {"home"})
    stream = Stream(source, notifier, "home")
    stream.connect()
    single = [f"image@cloud-{number}" for number in range(20)]
    many = ["image@" + "|".join(f"cloud-{each}" for each in range(count)) for count in range(2, 20)]
    others = ["image@[tier=edge]", "identity.validate@cloud-1", "image@nowhere", "image@(((", "x"]
    stream.ask(CLUSTER, [*single, *many, *others])
    first = set(stream.received)
    stream.received.clear()
    changed = {f"cloud-{number}": cloud(number, port=9500) for number in range(20)}
    inventory = inventory.apply({**changed, "home": home("home", port=8500)})
    source.update(inventory, {*changed, "home"})
    stream.push()
    pushed = set(stream.received)
    stream.received.clear()
    stream.close()
    stream.connect()

    assert counter.messages == []
    assert {*single, *many, *others, "front/compute", "lua/front/compute", "peer"} <= first
    assert {*single, "front/compute"} <= pushed
    assert stream.received == []
