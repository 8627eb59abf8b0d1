"""`serve --prefetch`, with a real etcd and a real Envoy."""

import pytest

from harness.fleet import manifest
from harness.http import Response, send
from harness.process import until
from harness.stack import ServeProcess, Stack, run_scopeway
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.etcd

ANYONE = [{"clouds": ["cloud-1"]}]
CORE = {"tier": "core"}
CLUSTERS = "cluster_manager.active_clusters"


@pytest.fixture(scope="module")
def serve(stack: Stack) -> ServeProcess:
    """A control plane that prefetches; core-1 to core-3 are there before it is."""
    for number in range(1, 4):
        put(stack, f"core-{number}")
    return stack.serve("--prefetch", "[tier=core]", "--prefetch", "plain-1")


@pytest.fixture(scope="module")
def site(stack: Stack, serve: ServeProcess) -> Cloud:
    put(stack, "plain-1", labels={})
    put(stack, "other-1", labels={})
    return stack.site("cloud-1", services={"image": stack.service("glance-1")})


def put(stack: Stack, name: str, *, labels: dict[str, str] = CORE) -> None:
    services = {"image": stack.service(f"glance of {name}")}
    stack.put(manifest(name, labels, services=services, accept=ANYONE))


def ask(site: Cloud, scope: str) -> Response:
    assert site.front
    return send(site.front.port, "/image/v2/x", [("X-Scope", scope)])


def has(stack: Stack, target: str) -> bool:
    """Return whether the Envoy has a cluster."""
    return f"\n{target}::" in "\n" + stack.envoys["cloud-1"].admin("/clusters").body.decode()


def test_a_prefetched_target_needs_no_control_plane_at_its_first_use(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    until(lambda: has(stack, "image@plain-1"), "it is prefetched")
    serve.kill()
    try:
        first = ask(site, "{glance:core-1}")
        named = ask(site, "{glance:plain-1}")
        other = ask(site, "{glance:other-1}")
    finally:
        serve.start()

    assert (first.status, first.json["name"]) == (200, "glance of core-1")
    assert (named.status, named.json["name"]) == (200, "glance of plain-1")
    assert other.status == 503
    assert other.error["message"].startswith("the control plane did not answer for image@other-1")


def test_the_prefetched_set_follows_the_registry(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    put(stack, "core-7")
    until(lambda: has(stack, "image@core-7"), "a cloud that comes is prefetched")
    put(stack, "core-7", labels={})
    until(lambda: not has(stack, "image@core-7"), "one that leaves the set is not")

    # and can be asked for, as any other
    assert ask(site, "{glance:core-7}").json["name"] == "glance of core-7"
    put(stack, "core-7")
    until(lambda: ask(site, "{glance:core-7}").status == 200, "it is both")
    put(stack, "core-7", labels={})
    stack.put(manifest("marker", CORE, services={"image": stack.service("m")}, accept=ANYONE))
    until(lambda: has(stack, "image@marker"), "the Envoy has the newest set")
    assert has(stack, "image@core-7")  # it was asked for, so it stays
    assert ask(site, "{glance:core-7}").json["name"] == "glance of core-7"


def test_a_cordon_reaches_prefetched_targets(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    run_scopeway("cloud", "cordon", "--registry", stack.etcd.url, "core-2", "--reason", "why")
    put(stack, "marker-2")
    until(lambda: has(stack, "image@marker-2"), "the Envoy has the cordon, too")
    serve.kill()
    try:
        answer = ask(site, "{glance:core-2}")
    finally:
        serve.start()
        run_scopeway("cloud", "uncordon", "--registry", stack.etcd.url, "core-2")

    assert (answer.status, answer.error["message"]) == (503, "core-2 is cordoned: why")


def test_a_reconnected_envoy_gets_no_cluster_that_it_has(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    until(lambda: ask(site, "{glance:core-2}").status == 200, "it has all that was changed")
    serve.restart()
    serve.wait_until(lambda: serve.serves(stack.envoys["cloud-1"]), "the Envoy is back")

    assert serve.sent().get("Cluster", 0) == 0


def test_clouds_above_the_prefetch_limit_are_counted_and_logged(
    stack: Stack, serve: ServeProcess
) -> None:
    small = stack.serve("--prefetch", "[tier=core]", "--prefetch-limit", "2")

    metrics = small.metrics()
    assert metrics["scopeway_prefetch_clouds"] == 2
    assert metrics["scopeway_prefetch_left_out"] >= 1
    assert "clouds more than --prefetch-limit 2" in small.log()
