"""One site with a collector, and many clouds: real etcd, `scopeway serve`, `collect` and Envoy."""

import http.client
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from fixtures import LABELS, Stack, at, manifest

from harness.collector import start_collector
from harness.http import send
from harness.identities import TRUST_DOMAIN, Identities
from harness.ports import free_port, free_ports, listens
from harness.process import Process, until
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.identity.names import spiffe_id

SCOPE = "{image: &[tier=edge]}"
PATH = "/image/v2/images"
REPORT = b'"scopeway:report"'
ACCEPT = [{"clouds": ["cloud-1"]}]
UPSTREAM = Path(__file__).with_name("upstream.py")


@dataclass(frozen=True, slots=True)
class Listing:
    """A listing of all clouds, and what it cost."""

    status: int
    body: bytes
    first_ms: float
    """Until the first byte of the body."""
    total_ms: float
    cpu_ms: dict[str, float]
    """CPU time of each process, in ms."""

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    @property
    def report(self) -> Any:
        """What answered and what did not; the rest of a large body is not parsed."""
        at = self.body.rfind(REPORT)
        return json.loads(b"{" + self.body[at:])["scopeway:report"] if at >= 0 else {}


@dataclass(slots=True)
class World:
    """What was started."""

    stack: Stack
    front: int
    upstream: Process
    upstream_port: int
    collector: Process
    clouds: int
    items: int
    failing: frozenset[str]
    """Clouds that refuse connections or hang."""
    processes: dict[str, Process] = field(default_factory=dict)
    """Those whose cost is measured, by name."""

    def get(
        self,
        path: str = PATH,
        scope: str = SCOPE,
        headers: Mapping[str, str] | None = None,
    ) -> Listing:
        """Ask the front, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.front, timeout=120)
        before = self.cpu()
        begin = time.perf_counter()
        sent = {"X-Scope": scope, "X-Auth-Token": "gAAAA", **(headers or {})}
        connection.request("GET", path, headers=sent)
        response = connection.getresponse()
        parts = [response.read1(1 << 16)]
        first = time.perf_counter()
        while part := response.read1(1 << 20):
            parts.append(part)
        end = time.perf_counter()
        connection.close()
        cpu = {name: (now - before[name]) * 1e3 for name, now in self.cpu().items()}
        body = b"".join(parts)
        return Listing(response.status, body, (first - begin) * 1e3, (end - begin) * 1e3, cpu)

    def sent(self) -> int:
        """Return how many bytes the services have sent so far."""
        return int(send(self.upstream_port, "/sent").json)

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds of each process so far."""
        return {name: each.cpu() for name, each in self.processes.items()}


@contextmanager
def world(
    clouds: int,
    items: int,
    *,
    page: int = 1000,
    refusing: int = 0,
    hanging: int = 0,
    peers: bool = False,
    options: tuple[object, ...] = (),
) -> Iterator[World]:
    """Start a site `cloud-1` and so many clouds with the label of `SCOPE`.

    Args:
        clouds: How many there are.
        items: Images of each.
        page: Images of a page.
        refusing: How many of them refuse connections.
        hanging: How many of them never answer.
        peers: Whether they are asked through a second Envoy, over mutual TLS; else directly.
        options: More of the collector.
    """
    with (
        TemporaryDirectory(prefix="scopeway-bench-") as folder,
        Stack(Path(folder)) as stack,
        ExitStack() as closing,
    ):
        if peers:
            stack.identities = Identities(stack.folder)
        upstream, port = _upstream(stack, items, page)
        closing.callback(upstream.kill)
        serve = stack.serve()
        refuse = {number * (clouds // refusing) for number in range(refusing)}
        hang = {number * (clouds // hanging) + 1 for number in range(hanging)}
        direct = [_direct(number, port, refuse, hang) for number in range(clouds)]
        target = _through_peer(stack, clouds, port) if peers else None
        stack.put(*(_peers(clouds, target) if target else direct))
        sockets = stack.folder / "sockets"
        sockets.mkdir(mode=0o750)
        home = {"endpoints": [at(port)], "path": "/home"}
        site = stack.site("cloud-1", collector=sockets, services={"image": home, "identity": home})
        collector = start_collector("cloud-1", sockets, *options)
        closing.callback(collector.stop)
        assert site.front
        failing = frozenset(f"edge-{number}" for number in refuse | hang)
        made = World(stack, site.front.port, upstream, port, collector, clouds, items, failing)
        made.processes = {
            "collector": collector,
            "Envoy": stack.envoys["cloud-1"],
            "control plane": serve,
        }
        if target:
            made.processes["peer's Envoy"] = stack.envoys[target.name]
        yield made


def _direct(number: int, port: int, refuse: set[int], hang: set[int]) -> Cloud:
    """Return one of the clouds."""
    place = at(free_port() if number in refuse else port)
    path = "/hangs" if number in hang else f"/c{number}"
    image = {"endpoints": [place], "path": path}
    return manifest(f"edge-{number}", _labels(number), services={"image": image}, accept=ACCEPT)


def _labels(number: int) -> dict[str, str]:
    """Return the labels of a cloud: also of the first 10 and the first 100."""
    among = {f"first{count}": "yes" for count in (10, 100) if number < count}
    return {**LABELS, **among}


def _through_peer(stack: Stack, clouds: int, port: int) -> Cloud:
    """Start the Envoy that is the peer of all clouds: its certificate has the names of all.

    Real sites have an Envoy each. An origin sees no difference: it has a connection with mutual TLS
    for each cloud.
    """
    assert stack.identities
    channel = stack.identities.channel("edge-0")
    certificate = stack.folder / "all-clouds.pem"
    certificate.write_bytes(_for_all(stack.identities, clouds))
    identity = replace(channel.identity, certificate=str(certificate))
    listener, front = free_ports(2)
    services = {"image": {"endpoints": [at(port)], "path": "/each"}}
    places = {"peer": at(listener), "front": at(front)}
    cloud = manifest("edge-0", LABELS, services=services, accept=ACCEPT, **places)
    stack.put(cloud)
    envoy = stack.start_envoy("edge-0", channel=replace(channel, identity=identity)).wait_ready()
    until(lambda: listens(listener), "the peer listens", log=envoy.tail)
    return cloud


def _for_all(identities: Identities, clouds: int) -> bytes:
    """Return a certificate for the key of edge-0 with the SPIFFE ids of all clouds."""
    authority = identities._authority.authority
    old = x509.load_pem_x509_certificate(identities.of("edge-0").certificate.read_bytes())
    names = [spiffe_id(TRUST_DOMAIN, f"edge-{number}") for number in range(clouds)]
    builder = x509.CertificateBuilder(
        subject_name=old.subject,
        issuer_name=old.issuer,
        public_key=old.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=old.not_valid_before_utc,
        not_valid_after=old.not_valid_after_utc,
    )
    for extension in old.extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            value = x509.SubjectAlternativeName(map(x509.UniformResourceIdentifier, names))
        builder = builder.add_extension(value, extension.critical)
    return builder.sign(authority.key, SHA256()).public_bytes(Encoding.PEM)


def _peers(clouds: int, target: Cloud) -> list[Cloud]:
    assert target.peer
    services = {"image": {"endpoints": [at(target.peer.port)]}}
    return [
        manifest(
            f"edge-{number}", LABELS, peer=at(target.peer.port), services=services, accept=ACCEPT
        )
        for number in range(1, clouds)
    ]


def _upstream(stack: Stack, items: int, page: int) -> tuple[Process, int]:
    command = [sys.executable, UPSTREAM, items, page]
    process = Process("upstream", command, stack.folder)
    process.output_file = stack.folder / "upstream.port"
    process.launch()
    process.wait_until(lambda: process.output_file.read_text().strip(), "the upstream listens")
    return process, int(process.output_file.read_text())
