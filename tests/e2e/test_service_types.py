"""A service that is not OpenStack's, declared while real processes run: etcd, serve and Envoys."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.http import Response, send
from harness.ports import free_port, listens
from harness.process import until
from harness.stack import ServeProcess, Stack, run_scopeway
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.runtime.last_good_file import FILE

pytestmark = pytest.mark.etcd

ANYONE = [{"clouds": ["cloud-1", "cloud-2"]}]


@pytest.fixture(scope="module")
def state_dir(stack: Stack) -> Path:
    return stack.folder / "state"


@pytest.fixture(scope="module")
def serve(stack: Stack, state_dir: Path) -> ServeProcess:
    return stack.serve("--state-dir", state_dir)


@pytest.fixture(scope="module")
def home(stack: Stack, serve: ServeProcess) -> Cloud:
    """cloud-1 with image and sensor, and cloud-2 with sensor behind its peer."""
    stack.site("cloud-2", services={"sensor": stack.service("sensor-2")}, accept=ANYONE)
    services = {"image": stack.service("glance-1"), "sensor": stack.service("sensor-1")}
    return stack.site("cloud-1", services=services, accept=ANYONE)


@pytest.fixture(autouse=True)
def without_types(stack: Stack, serve: ServeProcess, home: Cloud) -> Iterator[None]:
    """Start each test without declarations, and with an etcd and a control plane that run."""
    yield
    if not stack.etcd.running:
        stack.etcd.start()
    if not serve.running:
        serve.start()
    serve.wait_until(lambda: serve.status()["stale"] is None, "etcd is read again")
    for name in serve.status()["service_types"]:
        run_scopeway("service-type", "delete", "--registry", stack.etcd.url, name)
    serve.wait_until(lambda: not serve.status()["service_types"], "no type is declared")
    until(lambda: ask(home, "/sensor/a").status == 404, "sites know no further type")


def declare(stack: Stack, name: str = "sensor", **spec: Any) -> None:
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": "ServiceType"}
    file = stack.folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({**head, "metadata": {"name": name}, "spec": spec}))
    run_scopeway("service-type", "put", "--registry", stack.etcd.url, file)


def remove(stack: Stack, name: str = "sensor") -> None:
    run_scopeway("service-type", "delete", "--registry", stack.etcd.url, name)


def ask(site: Cloud, path: str, scope: str = "", port: int = 0) -> Response:
    assert site.front
    headers = [("X-Scope", scope)] if scope else []
    return send(port or site.front.port, path, headers)


def served_by(response: Response) -> tuple[int, str]:
    return response.status, response.json.get("name", "")


def is_served_by_cloud_2(home: Cloud) -> bool:
    try:
        return served_by(ask(home, "/sensor/a", "{probe: cloud-2}")) == (200, "sensor-2")
    except OSError:
        return False  # the front does not listen yet


def test_a_declared_type_works_by_path_scope_and_port_without_a_restart(
    stack: Stack, serve: ServeProcess, home: Cloud
) -> None:
    port = free_port()
    assert home.front
    front = replace(home.front, ports={"sensor": port})
    stack.put(replace(home, front=front))
    until(lambda: listens(port), "the port of an undeclared type is open")
    before = ask(home, "/sensor/a")
    refused = ask(home, "/a", port=port)
    processes = [each.pid for each in stack.envoys.values()], serve.pid

    declare(stack, aliases=["probe"])
    until(lambda: ask(home, "/sensor/a").status == 200, "the type is known")

    assert before.status == 404
    assert "no service 'sensor' at cloud-1" in before.json["error"]["message"]
    assert refused.json["error"]["message"].startswith("no such service: 'sensor'")
    own = ask(home, "/sensor/a")
    assert served_by(own) == (200, "sensor-1")
    assert own.json["path"] == "/a"
    until(
        lambda: served_by(ask(home, "/sensor/a", "{probe: cloud-2}")) == (200, "sensor-2"),
        "the peer of cloud-2 knows the type, too",
    )
    assert served_by(ask(home, "/sensor/a", "{sensor: cloud-2; glance: cloud-1}"))[1] == "sensor-2"
    assert served_by(ask(home, "/a", port=port)) == (200, "sensor-1")
    assert served_by(ask(home, "/a", "{probe: cloud-2}", port)) == (200, "sensor-2")
    assert served_by(ask(home, "/~{probe:cloud-2}/sensor/a")) == (200, "sensor-2")
    assert ([each.pid for each in stack.envoys.values()], serve.pid) == processes
    stack.put(home)


def test_a_removed_type_is_a_404_that_leaves_other_services_alone_and_can_come_again(
    stack: Stack, home: Cloud
) -> None:
    def sensor() -> tuple[int, str]:
        return served_by(ask(home, "/sensor/a", "{sensor: cloud-2}"))

    declare(stack)
    until(lambda: sensor() == (200, "sensor-2"), "the type is known")
    listeners = stack.envoys["cloud-1"].stats("listener_manager.listener_")

    remove(stack)
    # the targets are gone before the front's Lua, which comes in a later response
    until(
        lambda: ask(home, "/image/v2/x", "{sensor: cloud-2}").status == 400,
        "the front knows the type no more",
    )

    refused = ask(home, "/image/v2/x", "{sensor: cloud-2}")
    assert ask(home, "/sensor/a").status == 404
    assert "no such service: 'sensor'" in refused.json["error"]["message"]
    assert served_by(ask(home, "/image/v2/x")) == (200, "glance-1")
    assert served_by(ask(home, "/image/v2/x", "{glance: cloud-1}")) == (200, "glance-1")
    assert home.front
    token = ("X-Auth-Token", "t~1~*:cloud-1;sensor:cloud-2")
    assert served_by(send(home.front.port, "/image/v2/x", [token])) == (200, "glance-1")

    declare(stack)
    until(lambda: sensor() == (200, "sensor-2"), "the type is known again")
    assert stack.envoys["cloud-1"].stats("listener_manager.listener_") == listeners


def test_a_cloud_may_name_a_type_before_and_after_its_declaration(
    stack: Stack, serve: ServeProcess, home: Cloud
) -> None:
    (sentence,) = serve.status()["undeclared_service_types"]
    assert sentence.startswith("no such service: 'sensor' (named by cloud-")
    assert serve.metrics()["scopeway_undeclared_service_types"] == 1
    assert serve.status()["clouds"] == 2
    assert not serve.status()["refused"]

    declare(stack)
    serve.wait_until(lambda: not serve.status()["undeclared_service_types"], "it is declared")
    assert serve.metrics()["scopeway_undeclared_service_types"] == 0
    assert serve.metrics()["scopeway_service_types"] == 1


def test_a_mistyped_service_in_a_scope_gets_a_suggestion(stack: Stack, home: Cloud) -> None:
    declare(stack)
    until(lambda: ask(home, "/sensor/a").status == 200, "the type is known")

    refused = ask(home, "/sensor/a", "{sensr: cloud-2}")

    assert refused.status == 400
    assert refused.json["error"]["message"].endswith(
        "no such service: 'sensr'; did you mean 'sensor'?"
    )


def test_a_control_plane_that_starts_without_its_registry_knows_the_saved_types(
    stack: Stack, serve: ServeProcess, state_dir: Path, home: Cloud
) -> None:
    declare(stack, aliases=["probe"])
    until(lambda: ask(home, "/sensor/a").status == 200, "the type is known")
    serve.wait_until(lambda: b'"probe"' in (state_dir / FILE).read_bytes(), "it is saved")
    stack.etcd.kill()
    serve.restart()

    assert serve.status()["stale"]
    assert serve.status()["service_types"] == ["sensor"]
    stack.envoys.pop("cloud-1").stop()
    stack.start_envoy("cloud-1")
    until(
        lambda: is_served_by_cloud_2(home),
        "an Envoy that starts now gets the types",
    )
