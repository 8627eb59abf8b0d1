"""An operator cordons a cloud in a real etcd while its site renews its registration."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.fleet import manifest
from harness.http import Response, send
from harness.process import until
from harness.stack import ServeProcess, Stack, run_scopeway
from scopeway.control_plane.clouds.model import Cloud

pytestmark = pytest.mark.etcd

ANYONE = [{"clouds": ["cloud-1", "cloud-2"]}]
NEAR = {"tier": "edge"}


@pytest.fixture(scope="module")
def serve(stack: Stack) -> ServeProcess:
    return stack.serve("--state-dir", stack.folder / "state")


@pytest.fixture(scope="module")
def site(stack: Stack, serve: ServeProcess) -> Cloud:
    return stack.site("cloud-1", services={"image": stack.service("glance-1")})


@pytest.fixture(scope="module")
def other(stack: Stack, site: Cloud) -> Cloud:
    """The cloud that is going to be cordoned, with an Envoy of its own."""
    services = {"image": stack.service("glance-2")}
    return stack.site("cloud-2", labels=NEAR, services=services, accept=ANYONE)


@pytest.fixture(scope="module")
def spare(stack: Stack, other: Cloud) -> Cloud:
    services = {"image": stack.service("glance-3")}
    cloud = manifest("cloud-3", NEAR, services=services, accept=ANYONE)
    stack.put(cloud)
    return cloud


@pytest.fixture
def operate(stack: Stack) -> Callable[..., None]:
    """Run `scopeway cloud …`."""

    def operate(command: str, *arguments: str) -> None:
        run_scopeway("cloud", command, "--registry", stack.etcd.url, *arguments)

    return operate


def ask(site: Cloud, scope: str, method: str = "GET") -> Response:
    assert site.front
    return send(site.front.port, "/image/v2/x", [("X-Scope", scope)], method=method)


def served_by(site: Cloud, scope: str, method: str = "GET") -> str:
    return str(ask(site, scope, method).headers["x-scopeway-served-by"])


def test_a_cordoned_cloud_gets_no_requests_of_other_sites_until_it_is_uncordoned(
    stack: Stack, site: Cloud, other: Cloud, spare: Cloud, operate: Callable[..., None]
) -> None:
    until(lambda: served_by(site, "{glance:cloud-2}") == "cloud-2", "cloud-2 works")
    assert served_by(site, "{glance:cloud-2|cloud-3}", "POST") == "cloud-2"
    assert served_by(site, "{glance:[tier=edge]}", "POST") == "cloud-2"

    operate("cordon", "cloud-2", "--reason", "new disks")
    until(lambda: ask(site, "{glance:cloud-2}").status == 503, "cloud-2 is cordoned")
    stack.put(other)  # its site's heartbeat

    assert ask(site, "{glance:cloud-2}").error["message"] == "cloud-2 is cordoned: new disks"
    assert served_by(site, "{glance:cloud-2|cloud-3}", "POST") == "cloud-3"
    assert served_by(site, "{glance:[tier=edge]}", "POST") == "cloud-3"
    # its own requests, and what it asks of others, go on
    assert served_by(other, "{}") == "cloud-2"
    assert served_by(other, "{glance:cloud-2}") == "cloud-2"
    assert served_by(other, "{glance:cloud-3}") == "cloud-3"

    operate("uncordon", "cloud-2")
    until(lambda: served_by(site, "{glance:cloud-2}") == "cloud-2", "cloud-2 is back")
    assert served_by(site, "{glance:cloud-2|cloud-3}", "POST") == "cloud-2"


def test_a_cordon_survives_a_restart_without_etcd(
    stack: Stack,
    serve: ServeProcess,
    site: Cloud,
    other: Cloud,
    spare: Cloud,
    operate: Callable[..., None],
) -> None:
    operate("cordon", "cloud-3")
    until(lambda: ask(site, "{glance:cloud-3}").status == 503, "cloud-3 is cordoned")
    saved = stack.folder / "state" / "clouds.jsonl"
    until(lambda: saved.exists() and _has_cordon(saved, "cloud-3"), "the cordon is saved")
    stack.etcd.kill()
    serve.restart()
    serve.wait_until(lambda: serve.serves(stack.envoys["cloud-1"]), "the Envoy is back")

    assert ask(site, "{glance:cloud-3}").error["message"] == "cloud-3 is cordoned"


def _has_cordon(saved: Path, cloud: str) -> bool:
    """Not only that of an earlier test, which may have been saved last."""
    return any('"Cordon"' in line and cloud in line for line in saved.read_text().splitlines())
