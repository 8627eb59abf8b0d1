"""5,000 clouds in a real etcd, a real control plane, and the Envoy of one site."""

import random
from typing import Any

import pytest

from harness.envoy import Envoy
from harness.fleet import manifest
from harness.http import Response, send
from harness.ports import free_ports
from harness.process import until
from harness.stack import ServeProcess, Stack
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.etcd

CLOUDS = 5_000
LABEL_LIMIT = 8
"""How many clouds one label stands for at most."""
FIRST_USES = 200
UNUSED = 4_000
"""From this number on no test uses a cloud by its name."""
ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def serve(stack: Stack) -> ServeProcess:
    return stack.serve()


@pytest.fixture(scope="module")
def site(stack: Stack, serve: ServeProcess) -> Cloud:
    """cloud-1 in the region eu; 5,000 others bear the tier edge, three of them in its region."""
    stack.put(*(edge(stack, number) for number in range(CLOUDS)))
    stack.put(*(near(stack, number) for number in (1, 2, 3)))
    site = stack.site("cloud-1", labels={"region": "eu"}, services={})
    serve.wait_until(lambda: serve.metrics()["scopeway_clouds"] == CLOUDS + 4, "all are known")
    return site


def edge(stack: Stack, number: int, **more: Any) -> Cloud:
    """Return one of many clouds; all are served by one service, which is told who is meant."""
    image = stack.service("glance", host=f"glance.edge-{number}")
    spec = {"services": {"image": image}, "accept": ANYONE, **more}
    return manifest(f"edge-{number}", {"tier": "edge", "region": "us"}, **spec)


def near(stack: Stack, number: int) -> Cloud:
    spec = {"services": {"image": stack.service(f"glance-near-{number}")}, "accept": ANYONE}
    return manifest(f"near-{number}", {"tier": "edge", "region": "eu"}, **spec)


def ask(site: Cloud, scope: str, **more: Any) -> Response:
    assert site.front
    return send(site.front.port, "/image/v2/x", [("X-Scope", scope)], **more)


def in_use(serve: ServeProcess) -> float:
    return serve.metrics()["scopeway_targets_in_use"]


def clouds_of(envoy: Envoy, target: str) -> list[str]:
    """Return the targets that a cluster of clouds holds, the first choice first."""
    dump = envoy.admin("/config_dump?resource=dynamic_active_clusters").json["configs"]
    (cluster,) = (each["cluster"] for each in dump if each["cluster"]["name"] == target)
    localities = cluster["load_assignment"]["endpoints"]
    endpoints = [
        (locality.get("priority", 0), endpoint["metadata"]["filter_metadata"]["scopeway"]["target"])
        for locality in localities
        for endpoint in locality["lb_endpoints"]
    ]
    return [target for _, target in sorted(endpoints)]


def test_first_uses_of_5000_clouds_are_served_on_demand(
    serve: ServeProcess, stack: Stack, site: Cloud
) -> None:
    sent, used = serve.sent(), in_use(serve)
    for number in random.Random(1).sample(range(UNUSED), FIRST_USES):
        response = ask(site, f"{{image:edge-{number}}}")
        assert response.status == 200
        assert dict(response.json["headers"])["host"] == f"glance.edge-{number}"

    serve.wait_sent({**sent, "Cluster": sent["Cluster"] + FIRST_USES})
    assert in_use(serve) - used == FIRST_USES


class TestSelector:
    def test_a_selector_of_5000_clouds_means_the_nearest_ones(
        self, stack: Stack, site: Cloud
    ) -> None:
        response = ask(site, "{image:[tier=edge]}")

        assert response.json["name"] == "glance-near-1"
        assert clouds_of(stack.envoys["cloud-1"], "image@[tier=edge]") == [
            *("image@near-1", "image@near-2", "image@near-3"),
            *("image@edge-0", "image@edge-1", "image@edge-10", "image@edge-100", "image@edge-1000"),
        ]

    def test_a_selector_of_5000_clouds_survives_the_death_of_chosen_ones(
        self, stack: Stack, site: Cloud
    ) -> None:
        assert ask(site, "{image:[tier=edge]}").json["name"] == "glance-near-1"
        stack.echo("glance-near-1").stop(stack.background)
        assert ask(site, "{image:[tier=edge]}").json["name"] == "glance-near-2"
        assert ask(site, "{image:[tier=edge]}", method="POST").json["name"] == "glance-near-2"
        stack.echo("glance-near-2").stop(stack.background)
        assert ask(site, "{image:[tier=edge]}").json["name"] == "glance-near-3"

    def test_a_selector_of_5000_clouds_is_sent_again_only_if_a_chosen_one_changes(
        self, serve: ServeProcess, stack: Stack, site: Cloud
    ) -> None:
        assert ask(site, "{image:[tier=edge]}").status == 200
        envoy = stack.envoys["cloud-1"]
        known, sent = clouds_of(envoy, "image@[tier=edge]"), serve.sent()
        changed = [edge(stack, number, peer=_nobody()) for number in range(UNUSED, UNUSED + 100)]
        stack.put(*changed, manifest("edge-far", {"tier": "edge"}))
        until(lambda: serve.metrics()["scopeway_clouds"] == CLOUDS + 5, "edge-far is known")
        assert ask(site, "{image:edge-far}").status == 404

        # answers keep their order, so another one would have come before that of edge-far
        serve.wait_sent({**sent, "Cluster": sent["Cluster"] + 1})
        stack.etcd.delete(["near-3"])
        chosen = [*known, "image@edge-1001"]
        chosen.remove("image@near-3")
        until(lambda: clouds_of(envoy, "image@[tier=edge]") == chosen, "another cloud moves up")


def _nobody() -> dict[str, Any]:
    (port,) = free_ports(1)
    return {"address": "127.0.0.1", "port": port}
