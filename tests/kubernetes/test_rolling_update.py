"""A rolling update of the manifests' control plane, under load: no request fails."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from harness.kubernetes import ApiServer
from harness.pods import Pods
from harness.process import until
from kustomizations import DEPLOY, build, compose_sidecar
from tls_secrets import TlsSecrets


def ask(address: str, scope: str | None = None) -> int:
    """Return the status of a request to a front; 0 if there was none."""
    request = Request(f"http://{address}:8080/image/v2/images")
    if scope is not None:
        request.add_header("X-Scope", scope)
    try:
        with urlopen(request, timeout=10) as response:
            return int(response.status)
    except HTTPError as error:
        return error.code
    except OSError:
        return 0


class Load:
    """Requests without a pause: one target in use, and one that the control plane never heard."""

    def __init__(self, address: str) -> None:
        self.in_use: list[int] = []
        self.first_uses: list[int] = []
        self._address = address
        self._over = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _run(self) -> None:
        while not self._over.is_set():
            self.in_use.append(ask(self._address))
            unknown = f"{{glance: nowhere-{len(self.first_uses)}}}"
            self.first_uses.append(ask(self._address, unknown))
            time.sleep(0.02)


def test_no_request_fails_during_a_rolling_update(make_api_server: Any, tmp_path: Path) -> None:
    api: ApiServer = make_api_server()
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "cloud-1"}}
    with TemporaryDirectory() as name, Pods(api, Path(name)) as pods:
        secrets = TlsSecrets(Path(name) / "ca")
        api.apply(*build(DEPLOY / "control-plane"), secrets.of_control_plane(), namespace)
        replicas = pods.run("scopeway-system", "scopeway")
        api.apply(*compose_sidecar(tmp_path), secrets.of_site("cloud-1"))
        (pod,) = pods.run("cloud-1", "glance")
        api.apply(edge_cloud(pod.address))
        until(lambda: ask(pod.address) == 200, "the front answers", log=pods.logs)

        load = Load(pod.address)
        with load.running():
            for replica in replicas:
                pods.replace(replica)
            sent = len(load.in_use)
            until(lambda: len(load.in_use) > sent + 10, "more requests")

    assert set(load.in_use) == {200}
    assert set(load.first_uses) == {404}


def edge_cloud(address: str) -> dict[str, Any]:
    """Return the site with a sidecar; in a real pod, its service is at 127.0.0.1."""
    return {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": "cloud-1"},
        "spec": {
            "front": {"address": address, "port": 8080},
            "peer": {"address": address, "port": 8443},
            "services": {"image": {"endpoints": [{"address": address, "port": 9292}]}},
        },
    }
