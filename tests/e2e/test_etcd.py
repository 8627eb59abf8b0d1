"""A real etcd stops and restarts under a real control plane while requests go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.fleet import manifest
from harness.http import Response, send
from harness.process import until
from harness.stack import ServeProcess, Stack
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.runtime.last_good_file import FILE

pytestmark = pytest.mark.etcd

ANYONE = [{"clouds": ["cloud-1"]}]


@pytest.fixture(scope="module")
def state_dir(stack: Stack) -> Path:
    return stack.folder / "state"


@pytest.fixture(scope="module")
def serve(stack: Stack, state_dir: Path) -> ServeProcess:
    return stack.serve("--state-dir", state_dir)


@pytest.fixture(scope="module")
def site(stack: Stack, serve: ServeProcess) -> Cloud:
    return stack.site("cloud-1", services={"image": stack.service("glance-1")})


@pytest.fixture(autouse=True)
def all_run(stack: Stack, serve: ServeProcess) -> Iterator[None]:
    """Leave everything running, and current, whatever a test did to it."""
    yield
    if not stack.etcd.running:
        stack.etcd.start()
    if not serve.running:
        serve.start()
    serve.wait_until(lambda: not is_stale(serve), "etcd is read again")


def ask(site: Cloud, scope: str) -> Response:
    assert site.front
    return send(site.front.port, "/image/v2/x", [("X-Scope", scope)])


def cloud(stack: Stack, name: str) -> Cloud:
    """Return a cloud without an Envoy."""
    return manifest(name, services={"image": stack.service(f"glance of {name}")}, accept=ANYONE)


def is_stale(serve: ServeProcess) -> bool:
    return serve.status()["stale"] is not None


def test_a_cloud_works_when_it_is_registered_and_not_after_its_deletion(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    envoy = stack.envoys["cloud-1"]
    before = envoy.stats("listener_manager.listener_")
    first = ask(site, "{glance:cloud-9}")
    stack.put(cloud(stack, "cloud-9"))
    until(lambda: ask(site, "{glance:cloud-9}").status == 200, "cloud-9 works")
    response = ask(site, "{glance:cloud-9}")
    stack.etcd.delete(["cloud-9"])
    until(lambda: ask(site, "{glance:cloud-9}").status == 404, "cloud-9 is gone")

    assert (first.status, first.error["message"]) == (404, "no cloud is named cloud-9")
    assert response.json["name"] == "glance of cloud-9"
    assert ask(site, "{glance:cloud-9}").body == first.body
    assert envoy.stats("listener_manager.listener_") == before


def test_a_bad_entry_is_reported_and_affects_only_its_cloud(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    stack.put(cloud(stack, "cloud-2"))
    until(lambda: ask(site, "{glance:cloud-2}").status == 200, "cloud-2 works")
    stack.etcd.put_text("cloud-2", b'{"kind": "Potato"}')
    stack.put(cloud(stack, "cloud-3"))
    until(lambda: ask(site, "{glance:cloud-3}").status == 200, "cloud-3 works")
    (refused,) = serve.status()["refused"]

    assert ask(site, "{glance:cloud-2}").json["name"] == "glance of cloud-2"
    assert refused.startswith("/scopeway/clouds/cloud-2: ")
    assert refused in serve.log()
    assert serve.metrics()["scopeway_registry_refused_entries"] == 1
    stack.put(cloud(stack, "cloud-2"))
    until(lambda: serve.status()["refused"] == [], "the entry is good again")


def test_known_clouds_are_served_while_etcd_is_unreachable(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    stack.put(cloud(stack, "cloud-2"), cloud(stack, "cloud-4"))
    until(lambda: ask(site, "{glance:cloud-2}").status == 200, "cloud-2 works")
    assert not is_stale(serve)
    stack.etcd.kill()
    serve.wait_until(lambda: is_stale(serve), "the control plane has noticed")

    assert ask(site, "{glance:cloud-2}").status == 200
    assert ask(site, "{glance:cloud-4}").status == 200  # used for the first time
    assert "is away" in serve.status()["stale"]
    assert serve.metrics()["scopeway_registry_stale"] == 1
    stack.etcd.start()
    stack.put(cloud(stack, "cloud-5"))
    until(lambda: ask(site, "{glance:cloud-5}").status == 200, "etcd is followed again")
    serve.wait_until(lambda: not is_stale(serve), "nothing is stale")


def test_every_outage_of_etcd_is_noticed(stack: Stack, serve: ServeProcess) -> None:
    back = "the registry is reachable again"
    before = serve.log().count(back)
    for _ in range(2):
        stack.etcd.kill()
        serve.wait_until(lambda: is_stale(serve), "the control plane has noticed")
        stack.etcd.start()
        serve.wait_until(lambda: not is_stale(serve), "nothing is stale, though nothing changed")

    assert serve.log().count(back) == before + 2


def test_changes_compacted_during_an_outage_are_applied(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    stack.put(cloud(stack, "cloud-2"), cloud(stack, "cloud-6"))
    until(lambda: ask(site, "{glance:cloud-6}").status == 200, "cloud-6 works")
    stack.etcd.kill()
    serve.wait_until(lambda: is_stale(serve), "the control plane has noticed")
    serve.pause()  # or it might be back before the compaction
    try:
        stack.etcd.start()
        stack.etcd.delete(["cloud-6"])
        stack.put(cloud(stack, "cloud-7"))
        stack.etcd.compact()
    finally:
        serve.resume()
    until(lambda: ask(site, "{glance:cloud-7}").status == 200, "cloud-7 works")

    assert ask(site, "{glance:cloud-6}").status == 404
    assert ask(site, "{glance:cloud-2}").status == 200


def test_a_restart_without_etcd_serves_the_saved_clouds(
    stack: Stack, serve: ServeProcess, site: Cloud, state_dir: Path
) -> None:
    stack.put(cloud(stack, "cloud-2"), cloud(stack, "cloud-8"))
    saved = state_dir / FILE
    until(lambda: saved.exists() and '"cloud-8"' in saved.read_text(), "cloud-8 is saved")
    stack.etcd.kill()
    serve.restart()
    serve.wait_until(lambda: serve.serves(stack.envoys["cloud-1"]), "the Envoy is back")

    assert "; serving what " in serve.status()["stale"]
    assert serve.metrics()["scopeway_registry_stale"] == 1
    assert ask(site, "{glance:cloud-2}").status == 200
    assert ask(site, "{glance:cloud-8}").status == 200
    stack.etcd.start()
    stack.put(cloud(stack, "cloud-10"))
    until(lambda: ask(site, "{glance:cloud-10}").status == 200, "etcd is followed again")
    serve.wait_until(lambda: not is_stale(serve), "nothing is stale")


def test_the_contents_of_a_replaced_etcd_are_applied(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    """Even if its revisions and its cluster id equal those of the old etcd."""
    stack.etcd.delete(stack.etcd.names() - {"cloud-1"})
    stack.put(cloud(stack, "cloud-2"), cloud(stack, "cloud-3"))
    for name in ("cloud-2", "cloud-3"):
        until(lambda name=name: ask(site, f"{{glance:{name}}}").status == 200, f"{name} works")
    serve.pause()
    try:
        stack.etcd.wipe()
        new = stack.service("another glance")
        stack.put(site, manifest("cloud-2", services={"image": new}, accept=ANYONE))
        for _ in range(50):  # further than the old one was
            stack.put(site)
    finally:
        serve.resume()
    until(lambda: ask(site, "{glance:cloud-3}").status == 404, "cloud-3 is gone")
    until(lambda: ask(site, "{glance:cloud-2}").json.get("name") == "another glance", "it moved")

    assert serve.metrics()["scopeway_clouds"] == 2
