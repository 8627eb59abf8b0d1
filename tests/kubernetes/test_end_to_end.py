"""What kubectl applies, deletes and patches decides what real Envoys do with real requests."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.fleet import manifest
from harness.http import Response, send
from harness.http2 import Connection2
from harness.kubernetes_stack import KubernetesStack
from harness.process import until
from harness.stack import ServeProcess
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.runtime.last_good_file import FILE

ANYONE = [{"clouds": ["cloud-1", "cloud-2"]}]
ORIGIN = [("x-scopeway-origin", "cloud-1")]
"""Says who asks, where no certificate does."""


@pytest.fixture(scope="module")
def state_dir(stack: KubernetesStack) -> Path:
    return stack.folder / "state"


@pytest.fixture(scope="module")
def serve(stack: KubernetesStack, state_dir: Path) -> ServeProcess:
    return stack.serve("--state-dir", state_dir)


@pytest.fixture(scope="module")
def site(stack: KubernetesStack, serve: ServeProcess) -> Cloud:
    services = {"image": stack.service("glance-1"), "sensor": stack.service("sensor-1")}
    return stack.site("cloud-1", services=services)


@pytest.fixture(autouse=True)
def all_run(stack: KubernetesStack, serve: ServeProcess, site: Cloud) -> Iterator[None]:
    """Leave everything running, and current, whatever a test did to it."""
    yield
    if not stack.api.etcd.running:
        stack.api.start_etcd()
    if not stack.api.server.running:
        stack.api.start_server()
    if not serve.running:
        serve.start()
    serve.wait_until(lambda: not is_stale(serve), "the API server is read again")


def ask(site: Cloud, scope: str, path: str = "/image/v2/x") -> Response:
    assert site.front
    return send(site.front.port, path, [("X-Scope", scope)] if scope else [])


def cloud(stack: KubernetesStack, name: str) -> Cloud:
    """Return a cloud without an Envoy."""
    return manifest(name, services={"image": stack.service(f"glance of {name}")}, accept=ANYONE)


def is_stale(serve: ServeProcess) -> bool:
    return serve.status()["stale"] is not None


def ours(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return {**head, "spec": spec}


def await_served(site: Cloud, name: str, status: int = 200) -> None:
    until(lambda: ask(site, f"{{image:{name}}}").status == status, f"{name} is a {status}")


def test_a_cloud_answers_when_it_is_applied_and_not_after_its_deletion(
    stack: KubernetesStack, site: Cloud
) -> None:
    envoy = stack.envoys["cloud-1"]
    before = envoy.stats("listener_manager.listener_")
    first = ask(site, "{image:cloud-9}")
    stack.put(cloud(stack, "cloud-9"))
    await_served(site, "cloud-9")
    response = ask(site, "{image:cloud-9}")
    stack.api.kubectl("delete", "edgecloud", "cloud-9")
    await_served(site, "cloud-9", 404)

    assert (first.status, first.error["message"]) == (404, "no cloud is named cloud-9")
    assert response.json["name"] == "glance of cloud-9"
    assert ask(site, "{image:cloud-9}").body == first.body
    assert envoy.stats("listener_manager.listener_") == before


def test_a_patched_policy_counts_on_a_live_connection(stack: KubernetesStack, site: Cloud) -> None:
    services = {"image": stack.service("glance-2")}
    target = stack.site("cloud-2", services=services, accept=[])
    assert target.peer
    with Connection2(target.peer.port) as connection:

        def status() -> int:
            return connection.send("/image/v2/x", ORIGIN).status

        def patch(*rules: dict[str, Any]) -> None:
            text = json.dumps({"spec": {"accept": list(rules)}})
            stack.api.kubectl("patch", "edgecloud", "cloud-2", "--type=merge", "--patch", text)

        until(lambda: status() == 403, "nobody is let in")
        patch({"clouds": ["cloud-1"], "methods": ["GET"]})
        until(lambda: status() == 200, "cloud-1 is let in")
        written = connection.send("/image/v2/x", ORIGIN, method="POST")
        patch()
        until(lambda: status() == 403, "nobody is let in again")

    assert written.status == 403


def test_a_cordon_keeps_others_away_with_its_reason_until_it_is_deleted(
    stack: KubernetesStack, site: Cloud
) -> None:
    stack.put(cloud(stack, "cloud-3"))
    await_served(site, "cloud-3")
    stack.api.apply(ours("Cordon", "cloud-3", reason="new disks"))
    await_served(site, "cloud-3", 503)
    refused = ask(site, "{image:cloud-3}")
    stack.put(cloud(stack, "cloud-3"))  # which says nothing of the cordon
    stack.api.kubectl("delete", "cordon", "cloud-3")
    await_served(site, "cloud-3")

    assert refused.error["message"] == "cloud-3 is cordoned: new disks"


def test_a_declared_service_type_is_served_until_it_is_deleted(
    stack: KubernetesStack, site: Cloud
) -> None:
    before = ask(site, "", "/sensor/a")
    stack.api.apply(ours("ServiceType", "sensor", aliases=["probe"]))
    until(lambda: ask(site, "", "/sensor/a").status == 200, "the type is known")
    served = ask(site, "{probe:local}", "/sensor/a")
    stack.api.kubectl("delete", "servicetype", "sensor")
    until(lambda: ask(site, "", "/sensor/a").status == 404, "the type is gone")

    assert before.status == 404
    assert (served.status, served.json["name"]) == (200, "sensor-1")


def test_requests_and_first_uses_go_on_without_an_api_server(
    stack: KubernetesStack, serve: ServeProcess, site: Cloud
) -> None:
    stack.put(*(cloud(stack, f"cloud-{number}") for number in (4, 5, 6)))
    await_served(site, "cloud-4")
    stack.api.kill()
    serve.wait_until(lambda: is_stale(serve), "the control plane has noticed")

    assert ask(site, "{image:cloud-4}").status == 200
    assert ask(site, "{image:cloud-5}").status == 200  # used for the first time
    serve.pause()  # so that the changes are made while it is away
    try:
        stack.api.start()
        stack.api.kubectl("delete", "edgecloud", "cloud-4")
        stack.put(cloud(stack, "cloud-7"))
        stack.api.apply(ours("Cordon", "cloud-5", reason="new racks"))
    finally:
        serve.resume()
    await_served(site, "cloud-7")
    await_served(site, "cloud-4", 404)
    await_served(site, "cloud-5", 503)
    assert ask(site, "{image:cloud-6}").status == 200


def test_a_restored_backup_is_what_counts_and_is_followed(
    stack: KubernetesStack, serve: ServeProcess, site: Cloud, tmp_path: Path
) -> None:
    """The resource versions go back: a watch that went on would hear of nothing for long."""
    backup = tmp_path / "backup"
    stack.put(cloud(stack, "cloud-10"), cloud(stack, "cloud-11"))
    for name in ("cloud-10", "cloud-11"):
        await_served(site, name)
    stack.api.server.kill()  # it would wait for the watch to end
    stack.api.etcd.stop()
    stack.api.save(backup)
    stack.api.start()
    stack.put(cloud(stack, "cloud-12"))
    stack.api.kubectl("delete", "edgecloud", "cloud-10")
    await_served(site, "cloud-12")
    await_served(site, "cloud-10", 404)
    stack.api.kill()
    serve.wait_until(lambda: is_stale(serve), "the control plane has noticed")
    away = {name: ask(site, f"{{image:{name}}}").status for name in ("cloud-11", "cloud-12")}
    stack.api.restore(backup)
    stack.api.start()
    await_served(site, "cloud-10")
    await_served(site, "cloud-12", 404)
    stack.put(cloud(stack, "cloud-13"))
    await_served(site, "cloud-13")

    assert away == {"cloud-11": 200, "cloud-12": 200}
    assert ask(site, "{image:cloud-11}").status == 200


def test_a_control_plane_starts_with_the_saved_clouds_while_the_api_server_is_away(
    stack: KubernetesStack, serve: ServeProcess, site: Cloud, state_dir: Path
) -> None:
    stack.put(cloud(stack, "cloud-14"), cloud(stack, "cloud-15"))
    stack.api.apply(ours("Cordon", "cloud-15", reason="new disks"))
    saved = state_dir / FILE
    until(
        lambda: saved.exists() and all(each in saved.read_text() for each in ("-14", "new disks")),
        "the clouds and the cordon are saved",
    )
    stack.api.kill()
    serve.restart()
    serve.wait_until(lambda: serve.serves(stack.envoys["cloud-1"]), "the Envoy is back")

    assert is_stale(serve)
    assert ask(site, "{image:cloud-14}").json["name"] == "glance of cloud-14"
    message = ask(site, "{image:cloud-15}").error["message"]
    assert message.startswith("cloud-15 is cordoned: new disks (it has not been able to read ")
    stack.api.start()
    stack.api.kubectl("delete", "cordon", "cloud-15")
    await_served(site, "cloud-15")
