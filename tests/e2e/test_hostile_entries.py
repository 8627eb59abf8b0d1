"""An expensive registry entry does not delay other clouds at a real control plane."""

import json

import pytest

from harness.fleet import at, manifest
from harness.http import send
from harness.ports import free_ports
from harness.process import until
from harness.stack import ServeProcess, Stack
from scopeway.control_plane.clouds.model import Cloud
from scopeway.control_plane.scope import SERVICE_TYPES

pytestmark = pytest.mark.etcd

ANYONE = [{"clouds": ["cloud-1"]}]
CPU = 3.0
"""Seconds of the control plane that either attack may take; before, they took 55 and 9.8."""


@pytest.fixture(scope="module")
def serve(stack: Stack) -> ServeProcess:
    return stack.serve()


@pytest.fixture(scope="module")
def site(stack: Stack, serve: ServeProcess) -> Cloud:
    stack.put(manifest("cloud-2", services={"image": stack.service("glance-2")}, accept=ANYONE))
    return stack.site("cloud-1", services={"image": stack.service("glance-1")})


def test_an_entry_with_too_many_labels_does_not_delay_others(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    """Its last good version stays, and the problem is reported."""

    def document(prefix: str, count: int) -> bytes:
        labels = {f"{prefix}k{number:x}": "b" for number in range(count)}
        return json.dumps(
            {
                "apiVersion": "scopeway.io/v1alpha1",
                "kind": "EdgeCloud",
                "metadata": {"name": "cloud-evil", "labels": labels},
            },
            separators=(",", ":"),
        ).encode()

    stack.etcd.put_text("cloud-evil", document("a", 64))
    until(lambda: serve.status()["clouds"] == 3, "all are known", log=serve.tail)
    start = serve.cpu()
    for prefix in "bc":
        stack.etcd.put_text("cloud-evil", document(prefix, 12_000))
    until(lambda: bool(serve.status()["refused"]), "the entry is refused", log=serve.tail)

    assert site.front
    response = send(site.front.port, "/image/v2", [("X-Scope", "{image:[ak7=b]|cloud-2}")])
    assert (response.status, response.json["name"]) == (200, "glance-2")
    (problem,) = serve.status()["refused"]
    assert problem == (
        "/scopeway/clouds/cloud-evil: metadata.labels: has 12000 entries, more than 64"
    )
    assert serve.status()["clouds"] == 3
    assert serve.cpu() - start < CPU


def test_many_rules_for_a_common_label_do_not_delay_others(
    stack: Stack, serve: ServeProcess, site: Cloud
) -> None:
    """256 rules for 1,000 clouds, and a change of one of these again and again."""
    stack.put(*(manifest(f"n-{number}", labels={"a": "b"}) for number in range(1000)))
    front, peer = free_ports(2)
    services = sorted(SERVICE_TYPES)
    methods = ["COPY", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"]
    rules = [
        {
            "clouds": ["[a=b]"],
            "services": [services[number % len(services)]],
            "methods": [methods[number // 8 % 8]],
        }
        for number in range(256)
    ]
    stack.put(manifest("cloud-3", front=at(front), peer=at(peer), accept=rules))
    stack.start_envoy("cloud-3").wait_ready()
    start = serve.cpu()
    for number in range(10):
        stack.put(manifest("n-7", labels={"a": "b" if number % 2 else "c"}))
        assert site.front
        scope = f"{{image:never-{number}|cloud-2}}"
        assert send(site.front.port, "/image/v2", [("X-Scope", scope)]).status == 200

    assert serve.cpu() - start < CPU
    assert serve.status()["policies_too_large"] == {}
