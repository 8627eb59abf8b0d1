"""Status, metrics and commands of operators, with a real etcd, control plane and Envoys."""

import json
from pathlib import Path
from typing import Any

import pytest

from harness.fleet import manifest
from harness.http import Response, send
from harness.process import until
from harness.stack import ServeProcess, Stack, run_scopeway
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.etcd

ANYONE = [{"clouds": ["cloud-1"]}]
FLEET = [f"edge-{number}" for number in range(12)]


@pytest.fixture(scope="module")
def state(stack: Stack) -> Path:
    return stack.folder / "state"


@pytest.fixture(scope="module")
def serve(stack: Stack, state: Path) -> ServeProcess:
    return stack.serve("--state-dir", state)


@pytest.fixture(scope="module")
def site(stack: Stack, serve: ServeProcess) -> Cloud:
    return stack.site("cloud-1", services={"image": stack.service("glance-1")})


def ask(site: Cloud, scope: str) -> Response:
    assert site.front
    return send(site.front.port, "/image/v2/x", [("X-Scope", scope)])


def status(serve: ServeProcess) -> Any:
    found = run_scopeway("status", "--admin", f"127.0.0.1:{serve.admin_port}", "--format", "json")
    return json.loads(found)[f"127.0.0.1:{serve.admin_port}"]


def test_status_shows_each_connected_envoy(stack: Stack, serve: ServeProcess, site: Cloud) -> None:
    assert ask(site, "{glance:cloud-9}").status == 404
    serve.wait_until(lambda: status(serve)["streams"][0]["targets"] == 2, "the target is in use")
    (envoy,) = status(serve)["streams"]
    table = run_scopeway("status", "--admin", f"http://127.0.0.1:{serve.admin_port}")

    assert envoy["cloud"] == "cloud-1"
    assert f"{envoy['cloud']}/{envoy['instance']}" == stack.envoys["cloud-1"].node
    assert envoy["version"].startswith("envoy/1.")
    assert envoy["connected_seconds"] > 0
    assert envoy["targets"] == 2  # its own, and the one that was asked for
    assert envoy["acked"] >= 2
    assert envoy["nacked"] == {}
    assert table.splitlines()[-1].split()[0] == "cloud-1"
    assert f"clouds from {stack.etcd.url}" in table


def test_skipped_clouds_are_counted_and_logged_with_the_reason(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    stack.put(manifest("closed", services={"image": stack.service("glance-9")}))
    until(lambda: ask(site, "{glance:closed}").status == 403, "closed is known")
    before = serve.metrics()
    assert ask(site, "{glance:closed|cloud-9|local}").status == 200
    after = serve.metrics()

    for cause in ("policy", "unknown"):
        name = f"scopeway_clouds_passed_over_total{{{cause}}}"
        assert after[name] == before[name] + 1
    assert (
        "passed over: closed (policy): closed does not let cloud-1 use its image service: it has "
        "no accept rules; cloud-9 (unknown): no cloud is named cloud-9" in serve.log()
    )


def test_a_mass_loss_is_held_until_an_operator_releases_it(
    stack: Stack, serve: ServeProcess, site: Cloud, state: Path
) -> None:
    services = {"image": stack.service("glance of the edge")}
    stack.put(*(manifest(name, services=services, accept=ANYONE) for name in FLEET))
    until(lambda: ask(site, "{glance:edge-11}").status == 200, "the fleet is there")
    stack.etcd.delete(FLEET)
    serve.wait_until(lambda: serve.metrics()["scopeway_clouds_held"] == 12, "it is a mass loss")

    assert set(status(serve)["held"]) == set(FLEET)
    assert "mass loss: 12 clouds were lost at once" in serve.log()
    assert ask(site, "{glance:edge-11}").status == 200
    assert ask(site, "{glance:edge-10}").status == 200  # used for the first time

    admin = ("--admin", f"127.0.0.1:{serve.admin_port}")
    assert "edge-11 released" in run_scopeway("cloud", "release", *admin, "edge-11")
    until(lambda: ask(site, "{glance:edge-11}").status == 404, "edge-11 is gone")
    assert ask(site, "{glance:edge-10}").status == 200
    assert len(status(serve)["held"]) == 11

    run_scopeway("cloud", "release", *admin, "--all")
    until(lambda: ask(site, "{glance:edge-10}").status == 404, "all are gone")
    assert serve.metrics()["scopeway_clouds_held"] == 0
    assert status(serve)["held"] == {}
    saved = state / "clouds.jsonl"
    until(lambda: saved.exists() and "edge-" not in saved.read_text(), "they are saved no more")
