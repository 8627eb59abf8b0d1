"""The manifests' control plane with the rights of its own account: it reads, and writes status."""

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from harness.kubernetes import REPOSITORY, ApiServer
from harness.pods import Pod, Pods
from harness.process import until
from kustomizations import DEPLOY, Document, build
from tls_secrets import TlsSecrets


@pytest.fixture
def api(make_api_server: Any) -> ApiServer:
    """An API server without admission policies, which would refuse what this test applies."""
    server: ApiServer = make_api_server(ours=False)
    server.apply_ours([REPOSITORY / "deploy/crds"])
    return server


@pytest.fixture
def replicas(api: ApiServer) -> Iterator[list[Pod]]:
    with TemporaryDirectory() as name, Pods(api, Path(name)) as pods:
        api.apply(*build(DEPLOY / "control-plane"))
        api.apply(TlsSecrets(Path(name) / "ca").of_control_plane())
        yield pods.run("scopeway-system", "scopeway")


def edge_cloud(name: str, **rule: object) -> Document:
    return {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": name},
        "spec": {
            "services": {"image": {"endpoints": [{"address": "192.0.2.1", "port": 9292}]}},
            "accept": [{"clouds": ["cloud-2"], **rule}],
        },
    }


def test_its_rights_are_enough(api: ApiServer, replicas: list[Pod]) -> None:
    """For conditions, an Event about a refusal, the Lease of the leader and those of replicas."""
    api.apply(edge_cloud("good"))
    # kubectl would refuse it
    create = ("create", "--validate=false", "-f", "-")
    text = json.dumps(edge_cloud("bad", methds=["GET"]))
    api.kubectl(*create, text=text)

    api.kubectl("wait", "--for=condition=Accepted", "edgecloud/good")
    api.kubectl("wait", "--for=condition=Accepted=False", "edgecloud/bad")
    until(lambda: events_about(api, "bad"), "an Event")
    until(lambda: len(api.get("-n", "scopeway-system", "leases")["items"]) == 3, "three Leases")
    (event,) = events_about(api, "bad")
    assert "methds" in event["note"]
    leader = api.get("-n", "scopeway-system", "lease", "scopeway-status")["spec"]
    assert any(leader["holderIdentity"].startswith(pod.name) for pod in replicas)
    for pod in replicas:
        assert "forbidden" not in pod.processes["scopeway"].log()


def events_about(api: ApiServer, cloud: str) -> list[Document]:
    return [
        event
        for event in api.get("-n", "default", "events.events.k8s.io")["items"]
        if event.get("regarding", {}).get("name") == cloud
    ]
