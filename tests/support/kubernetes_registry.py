"""Objects of a real API server, a line to it that can be cut, and readers of its registry."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from harness.kubernetes import REPOSITORY, ApiServer
from registry_contract import Clouds, Cordons
from registry_model import Forwarder, Reader, a_cloud
from scopeway.control_plane.clouds.cordon import Cordon, cordon_document
from scopeway.control_plane.clouds.document import to_document
from scopeway.control_plane.kubernetes_api import paths
from scopeway.control_plane.kubernetes_api.client import ApiClient
from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.kubernetes_api.kubeconfig import SERVICE_ACCOUNT
from scopeway.control_plane.kubernetes_api.url import KubernetesUrl
from scopeway.control_plane.registry.kubernetes.registry import KubernetesRegistry

MANAGER = "tests"


def registry_of(kubeconfig: Path, **options: Any) -> KubernetesRegistry:
    """Return the registry of a kubeconfig."""
    return KubernetesRegistry(
        KubernetesUrl(kubeconfig=kubeconfig),
        **{"patience": 30.0, "account": SERVICE_ACCOUNT} | options,
    )


def client_of(server: ApiServer) -> ApiClient:
    return ApiClient(KubernetesUrl(kubeconfig=server.kubeconfig))


def clear(server: ApiServer) -> None:
    """Delete all objects of ours."""
    server.kubectl("delete", "edgeclouds,cordons,servicetypes", "--all")


async def put_cloud(client: ApiClient, name: str, port: int = 9292, **labels: str) -> None:
    document = to_document(a_cloud(name, port=port, **labels))
    await client.apply(f"{paths.EDGE_CLOUDS}/{name}", document, manager=MANAGER)


async def hold(server: ApiServer, clouds: Clouds, cordons: Cordons) -> None:
    """Have an API server hold these and nothing else."""
    async with client_of(server) as client:
        for name, port in clouds.items():
            await put_cloud(client, name, port)
        for name, reason in cordons.items():
            document = cordon_document(Cordon(name=name, reason=reason))
            await client.apply(f"{paths.CORDONS}/{name}", document, manager=MANAGER)
        for path, wanted in ((paths.EDGE_CLOUDS, clouds), (paths.CORDONS, cordons)):
            for item in (await client.list_all(path))[1]:
                if item["metadata"]["name"] not in wanted:
                    await client.delete(f"{path}/{item['metadata']['name']}")


async def spoil(server: ApiServer, name: str) -> None:
    """Give a cloud an unknown field, which no admission policy refuses."""
    document = to_document(a_cloud(name)) | {"spec": {"accept": [{"clouds": ["x"], "methds": []}]}}
    async with client_of(server) as client:
        await client.apply(f"{paths.EDGE_CLOUDS}/{name}", document, manager=MANAGER)


async def when_served(server: ApiServer) -> None:
    """Return once custom resources can be written again, which is later than /readyz says."""
    async with client_of(server) as client:
        while True:
            try:
                await put_cloud(client, "probe-of-the-test")
                await client.delete(f"{paths.EDGE_CLOUDS}/probe-of-the-test")
                return
            except ApiError:
                continue


class LineToApiServer:
    """A port before an API server, to cut the line without stopping the server."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.kubeconfig = folder / "line-kubeconfig"
        self._line: Forwarder | None = None

    async def open(self, **options: Any) -> KubernetesRegistry:
        """Lay the line, and return the registry behind it."""
        self._line = await Forwarder.start(self.server.port)
        config = json.loads(self.server.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self._line.port}"
        self.kubeconfig.write_text(json.dumps(config))
        return registry_of(self.kubeconfig, **options)

    async def cut(self) -> None:
        if self._line is not None:
            await self._line.stop()

    async def resume(self) -> None:
        assert self._line is not None
        await self._line.resume()


def holds(reader: Reader, **clouds: int) -> bool:
    """Return whether a reader knows these clouds with these ports, surely, and no others."""
    known = {cloud.name: cloud for cloud in reader.inventory}
    expected = {name: a_cloud(name, port=port) for name, port in clouds.items()}
    return reader.batches[-1].stale is None and known == expected


async def first(registry: KubernetesRegistry) -> None:
    async for _ in registry.watch():
        return


async def wait_for(expected: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not expected():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def compact(server: ApiServer) -> None:
    """Have etcd forget all but the present version."""
    url = f"http://127.0.0.1:{server.etcd_port}/v3/kv"

    def ask(call: str, body: dict[str, Any]) -> Any:
        request = Request(f"{url}/{call}", json.dumps(body).encode())
        with urlopen(request) as answer:
            return json.loads(answer.read())

    revision = ask("range", {"key": "AA=="})["header"]["revision"]
    ask("compaction", {"revision": revision, "physical": True})


def define(server: ApiServer) -> None:
    server.kubectl("apply", "--server-side", "-k", REPOSITORY / "deploy/crds")
    server.kubectl("wait", "--for=condition=Established", "crd", "--all")


def make_account(server: ApiServer, name: str) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    server.apply(account | {"metadata": {"name": name, "namespace": "default"}})


def grant(server: ApiServer, name: str) -> None:
    """Let an account read our resources."""
    group = "rbac.authorization.k8s.io"
    rules = [
        {
            "apiGroups": [paths.GROUP],
            "resources": ["edgeclouds", "cordons", "servicetypes"],
            "verbs": ["get", "list", "watch"],
        }
    ]
    role = {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "readers"}}
    binding = {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": name},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "readers"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": "default"}],
    }
    server.apply(role | {"rules": rules}, binding)


def write_account(server: ApiServer, name: str, folder: Path) -> Path:
    """Write the folder of a service account, as kubelet mounts it."""
    account = folder / "account"
    account.mkdir(exist_ok=True)
    (account / "ca.crt").write_bytes((server.folder / "ca.crt").read_bytes())
    (account / "namespace").write_text("default")
    (account / "token.new").write_text(server.token(name))
    (account / "token.new").rename(account / "token")
    return account


def in_pod(monkeypatch: pytest.MonkeyPatch, server: ApiServer) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(server.port))
