"""An unreadable policy changes nothing and is reported, with a real etcd and `serve`."""

import json

import pytest

from harness.http import send
from harness.http2 import send2
from harness.process import until
from harness.stack import Stack
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.clouds.model import Cloud

BAD = [
    {"clouds": ["cloud-1", "cloud-3"], "services": ["image"], "methods": ["GETT"]},
    {"clouds": ["[everybody]"]},
    {"clouds": ["cloud-3"], "service": ["image"]},
]


@pytest.fixture(scope="module")
def clouds(stack: Stack) -> tuple[Cloud, Cloud]:
    """cloud-1, and cloud-2, which lets it read images."""
    stack.serve()
    accept = [{"clouds": ["cloud-1"], "services": ["image"], "methods": ["GET", "HEAD"]}]
    return (
        stack.site("cloud-1", services={"image": stack.service("glance-1")}),
        stack.site("cloud-2", services={"image": stack.service("glance-2")}, accept=accept),
    )


def ask(peer: int, cloud: str, method: str = "GET") -> int:
    """Ask a peer without TLS, which believes the header."""
    return send2(peer, "/image/v2", [("x-scopeway-origin", cloud)], method=method).status


@pytest.mark.parametrize("rule", BAD, ids=lambda rule: str(list(rule)[-1]))
def test_a_bad_policy_is_reported_and_the_last_good_one_stays(
    stack: Stack, clouds: tuple[Cloud, Cloud], rule: dict[str, list[str]]
) -> None:
    origin, target = clouds
    (serve,) = stack.serves
    assert origin.front
    assert target.peer
    document = to_document(target)
    document["spec"]["accept"] = [rule]

    stack.etcd.put_text("cloud-2", json.dumps(document).encode())
    until(lambda: serve.status()["refused"], "the entry is refused")
    (problem,) = serve.status()["refused"]
    scope = [("X-Scope", "{image:cloud-2}")]

    assert "/scopeway/clouds/cloud-2" in problem
    assert "spec.accept[0]" in problem
    assert "spec.accept[0]" in serve.log()
    assert serve.metrics()["scopeway_registry_refused_entries"] == 1
    assert send(origin.front.port, "/image/v2", scope).status == 200
    port = target.peer.port
    assert [ask(port, "cloud-1"), ask(port, "cloud-1", "PUT"), ask(port, "cloud-3")] == [
        *(200, 403, 403)
    ]

    stack.put(target)
    until(lambda: not serve.status()["refused"], "the entry is good again")
    assert send(origin.front.port, "/image/v2", scope).status == 200
