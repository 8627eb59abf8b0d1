"""A control plane of this version and one of the version before, over one registry, and sites.

A switch leads each Envoy to one of them, which is an upgrade, or going back, of that site's control
plane.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from harness import version_before
from harness.envoy import Envoy
from harness.fleet import manifest
from harness.http import send
from harness.identities import TRUST_DOMAIN, Identities
from harness.load import Load
from harness.ports import free_ports
from harness.process import until
from harness.request_kinds import IMAGES, TOKEN, answer, kinds, slow_kinds
from harness.services import at
from harness.stack import REPOSITORY, ServeProcess, Stack, run_scopeway
from harness.switchable_proxy import Switch
from scopeway.control_plane.clouds.model import Cloud

DRAIN_SECONDS = 600
"""Envoy's default: connections from before an upgrade stay, with the filters of before."""


@dataclass
class World:
    """Two control planes, and what is made with them."""

    stack: Stack
    sources: Path
    before: ServeProcess
    now: ServeProcess
    ports: dict[str, int] = field(default_factory=dict)
    """Of the fronts."""
    switches: dict[str, Switch] = field(default_factory=dict)

    def start_envoy(
        self, cloud: str, sources: Path, serve: ServeProcess, *others: ServeProcess
    ) -> None:
        """Start the Envoy of a cloud, with a bootstrap as these sources write it.

        Its first control plane is another one after `move`.
        """
        switch = self.switches[cloud] = Switch(self.stack.background, serve.xds_port)
        ports = [switch.port, *(each.xds_port for each in others)]
        assert self.stack.identities
        files, folder = self.stack.identities.of(cloud), self.stack.folder / f"bootstrap-{cloud}"
        tls = {"cert": files.certificate, "key": files.key, "ca": files.authorities}
        options = [part for name, file in tls.items() for part in (f"--tls-{name}", file)]
        options += [part for port in ports for part in ("--xds", f"127.0.0.1:{port}")]
        options += ["--trust-domain", TRUST_DOMAIN]
        run_scopeway("bootstrap", cloud, *options, "--output", folder, sources=sources)
        config = yaml.safe_load((folder / "envoy.yaml").read_text())
        (grpc_service,) = config["dynamic_resources"]["ads_config"]["grpc_services"]
        grpc_service["envoy_grpc"]["retry_policy"]["retry_back_off"]["max_interval"] = "0.5s"
        self.stack.run_envoy(cloud, config, drain_seconds=DRAIN_SECONDS)

    def envoy(self, cloud: str) -> Envoy:
        return self.stack.envoys[cloud]

    def load(self, here: str, there: str, *, slow: bool = True) -> Load:
        """Return requests to one cloud's front, which leads them to the other and elsewhere.

        `slow`: some take a while.
        """
        front = self.ports[here]
        return Load(front, kinds(front, here, there) | (slow_kinds(there) if slow else {}))

    def refused(self) -> float:
        """Return how many streams the control plane of before has refused."""
        return self.before.metrics().get("xds_streams_ended_total{FAILED_PRECONDITION}", 0)

    def move(self, cloud: str, serve: ServeProcess) -> None:
        """Give an Envoy the other control plane, and wait until it has what that one sends."""
        self.switches[cloud].turn(serve.xds_port)
        serve.wait_until(lambda: self._is_up_to_date(cloud, serve), f"{cloud} has changed over")

    def _is_up_to_date(self, cloud: str, serve: ServeProcess) -> bool:
        streams = [
            each
            for each in serve.status()["streams"]
            if each["cloud"] == cloud and len(each["types"]) >= 5
        ]
        assert not any(each["nacked"] for each in streams), streams
        return any(
            not any(kind["in_flight"] for kind in each["types"].values()) for each in streams
        )


@contextmanager
def two_versions(stack: Stack) -> Iterator[World]:
    """Start both control planes, and the sites cloud-1, cloud-2 and cloud-7.

    The last one's bootstrap is of this version, those of the others are of the one before.
    """
    sources = version_before.extract(stack.folder / "before")
    stack.identities = Identities(stack.folder)
    before, now = (
        stack.serve(
            *("--direct", "127.0.0.0/8", "--state-dir", stack.folder / f"state-{name}"),
            start=False,
            sources=each,
        )
        for name, each in (("before", sources), ("now", REPOSITORY))
    )
    for serve in (before, now):
        serve.launch()
    world = World(stack, sources, before, now)
    names = "cloud-1", "cloud-2", "cloud-7"
    for name, front, peer in zip(names, free_ports(3), free_ports(3), strict=True):
        world.ports[name] = front
        stack.put(site(stack, name, front, peer))
        glance = stack.echo(f"glance of {name}")
        glance.headers = [("Location", f"http://127.0.0.1:{glance.port}/v2/images/1")]
    stack.put(*neighbours(stack))
    stack.echo("keystone of cloud-2").raw = answer({"token": TOKEN})
    for serve in (before, now):
        serve.wait_until(serve.is_ready, "/readyz is 200")
    starts = [(name, sources, before) for name in names[:2]] + [(names[2], REPOSITORY, now)]
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda start: world.start_envoy(*start), starts))
    until(lambda: all(is_served(each) for each in world.ports.values()), "the fronts answer")
    try:
        yield world
    finally:
        for switch in world.switches.values():
            switch.close()


def site(stack: Stack, name: str, front: int, peer: int) -> Cloud:
    """Return a cloud with an Envoy, which lets the others in, and honours tokens of cloud-2."""
    others = {"clouds": ["cloud-1", "cloud-2", "cloud-7"], "methods": ["GET", "POST"]}
    honoured = {"clouds": ["nobody"], "identity": {"clouds": ["cloud-2"], "roles": ["member"]}}
    return manifest(
        name,
        {"tier": "edge"} if name == "cloud-2" else {},
        front=at(front),
        peer=at(peer),
        services={
            "image": stack.service(f"glance of {name}"),
            "identity": stack.service(f"keystone of {name}"),
        },
        accept=[{**others, "services": ["image", "identity"]}, honoured],
    )


def neighbours(stack: Stack) -> Iterator[Cloud]:
    """Yield clouds without an Envoy: one that answers, a dead one, one that lets nobody in."""
    (dead,) = free_ports(1)
    anyone = [{"clouds": ["cloud-1", "cloud-2", "cloud-7"]}]
    for name, service, accept in (
        ("cloud-3", stack.service("glance of cloud-3"), anyone),
        ("cloud-4", {"endpoints": [at(dead)]}, anyone),
        ("cloud-5", stack.service("glance of cloud-5"), []),
    ):
        yield manifest(name, services={"image": service}, accept=accept)


def is_served(front: int) -> bool:
    try:
        return send(front, IMAGES).status == 200
    except OSError:
        return False
