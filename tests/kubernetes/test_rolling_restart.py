"""Two replicas are replaced as a Deployment replaces them, while requests and first uses go on."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from harness.deployment import Deployment
from harness.fleet import manifest
from harness.front_load import FirstUses, image, is_ok
from harness.http import Connection
from harness.identities import Identities
from harness.kubernetes_stack import KubernetesStack
from harness.load import Kind, Load
from harness.process import until
from harness.stack import ServeProcess
from scopeway.control_plane.clouds.model import Cloud

SITES = [f"cloud-{number}" for number in range(1, 5)]
EDGES = [f"edge-{number}" for number in range(30)]
"""Clouds without an Envoy; two of them in any order are a target that was never used."""
ANYONE = [{"clouds": SITES}]


@pytest.fixture(scope="module")
def deployment(stack: KubernetesStack) -> Iterator[Deployment]:
    stack.identities = Identities(stack.folder)
    with closing(Deployment(stack, "--direct", "127.0.0.0/8", "--drain-seconds", 2)) as made:
        yield made.start()


@pytest.fixture(scope="module")
def sites(stack: KubernetesStack, deployment: Deployment) -> dict[str, Cloud]:
    service = stack.service("glance of an edge")
    stack.put(*(manifest(name, services={"image": service}, accept=ANYONE) for name in EDGES))
    return {
        name: stack.site(name, services={"image": stack.service(name)}, accept=ANYONE)
        for name in SITES
    }


STEADY: dict[str, Kind] = {
    "own": (image(""), is_ok),
    "a peer": (image("{image:cloud-2}"), is_ok),
    "direct": (image("{image:edge-1}"), is_ok),
    "several": (image("{image:edge-2|cloud-2}"), is_ok),
    "unknown": (image("{image:cloud-9}"), lambda response: response.status == 404),
}


def front(cloud: Cloud) -> int:
    assert cloud.front
    return cloud.front.port


def connected(serves: list[ServeProcess]) -> set[str]:
    """Return the clouds whose Envoys are connected to one of them."""
    return {stream["cloud"] for serve in serves for stream in serve.status()["streams"]}


@pytest.fixture
def steady(sites: dict[str, Cloud]) -> list[Load]:
    """Requests to each front for what it has used before."""
    for site in sites.values():
        with Connection(front(site)) as client:
            for ask, is_right in STEADY.values():
                until(lambda ask=ask, is_right=is_right: is_right(ask(client)), "it is in use")
    return [Load(front(site), STEADY) for site in sites.values()]


@contextmanager
def running(loads: list[Load]) -> Iterator[None]:
    """Let them go on before, meanwhile and after, and look that none of their requests failed."""
    with ExitStack() as stack:
        for load in loads:
            stack.enter_context(load.running())
            load.goes_on()
        yield
        for load in loads:
            load.goes_on()
    assert [load.failed for load in loads] == [[]] * len(loads)


def test_a_rolling_restart_loses_no_request_and_sends_nothing_again(
    stack: KubernetesStack, deployment: Deployment, steady: list[Load]
) -> None:
    before = {name: stack.envoys[name].updates() for name in SITES}
    old = list(deployment.replicas)
    with running(steady):
        deployment.restart()
        deployment.await_ends()
        until(lambda: connected(deployment.replicas) == set(SITES), "all Envoys are back")

    assert not set(old) & set(deployment.replicas)
    assert [each.sent() for each in deployment.replicas] == [{}] * len(old)
    assert {name: stack.envoys[name].updates() for name in SITES} == before


def test_first_uses_and_changes_go_on_during_a_rolling_restart(
    stack: KubernetesStack, deployment: Deployment, sites: dict[str, Cloud], steady: list[Load]
) -> None:
    applied: list[str] = []
    before = {name: stack.envoys[name].updates() for name in SITES}

    def apply(added: ServeProcess) -> None:
        """Apply a cloud as soon as the new replica is ready."""
        applied.append(f"new-{len(applied)}")
        services = {"image": stack.service("glance of a new cloud")}
        stack.put(manifest(applied[-1], services=services, accept=ANYONE))
        deployment.await_known(added)

    first_uses = [
        Load(front(site), {"first use": (FirstUses(EDGES, pause=0.02), is_ok)})
        for site in sites.values()
    ]
    with running(steady + first_uses):
        deployment.restart(apply)
        deployment.await_ends()
    for name in applied:
        served = image(f"{{image:{name}}}")
        for site in sites.values():
            with Connection(front(site)) as client:
                until(lambda served=served: is_ok(served(client)), f"{name} is served")

    assert {name: stack.envoys[name].updates() for name in SITES} == before
    assert {kind for each in deployment.replicas for kind in each.sent()} == {"Cluster"}
