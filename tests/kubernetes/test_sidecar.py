"""The component sidecar, with a real Envoy, collector and control plane beside a service."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

from harness.kubernetes import ApiServer
from harness.pods import Pods
from harness.process import until
from kustomizations import DEPLOY, build, compose_sidecar
from tls_secrets import TlsSecrets


def test_a_service_with_a_sidecar_is_a_site(make_api_server: Any, tmp_path: Path) -> None:
    api: ApiServer = make_api_server()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloud-1"}}
    with TemporaryDirectory() as name, Pods(api, Path(name)) as pods:
        secrets = TlsSecrets(Path(name) / "ca")
        api.apply(*build(DEPLOY / "control-plane"), secrets.of_control_plane(), namespace)
        pods.run("scopeway-system", "scopeway")
        api.apply(*compose_sidecar(tmp_path), secrets.of_site("cloud-1"))
        (pod,) = pods.run("cloud-1", "glance")
        assert set(pod.processes) == {"envoy", "collector", "glance"}

        at = {"address": pod.address}
        spec = {
            "front": {**at, "port": 8080},
            "peer": {**at, "port": 8443},
            # in a real pod: 127.0.0.1
            "services": {"image": {"endpoints": [{**at, "port": 9292}]}},
        }
        cloud = {"apiVersion": "scopeway.io/v1alpha1", "kind": "EdgeCloud", "spec": spec}
        api.apply({**cloud, "metadata": {"name": "cloud-1"}})

        until(lambda: pods.api.get("-n", "cloud-1", "deployment", "glance")["status"], "ready")
        until(lambda: answer(pod.address) == (200, "cirros at cloud-1"), "answer", log=pods.logs)
        assert (pod.folder / "run/scopeway-admin/admin.sock").is_socket()


def answer(address: str) -> tuple[int, str]:
    try:
        with urlopen(f"http://{address}:8080/image/v2/images", timeout=5) as response:
            return response.status, json.load(response)["images"][0]["name"]
    except OSError as error:
        return 0, str(error)
