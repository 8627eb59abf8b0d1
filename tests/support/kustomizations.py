"""The kustomizations under `deploy/`, built by kubectl; it asks no API server for that."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from harness.kubernetes import KUBECTL, REPOSITORY, ApiServer
from harness.operator_crds import operator_crds, spire_stub

DEPLOY: Final = REPOSITORY / "deploy"
SITES: Final = ("overlays/quickstart/cloud-1", "overlays/quickstart/cloud-2")

Document = dict[str, Any]

WORKLOADS: Final = ("Deployment", "StatefulSet", "DaemonSet")


class BuildFailed(Exception):
    """kubectl could not build a kustomization; the text is what it wrote to standard error."""


def build(folder: Path) -> list[Document]:
    """Return the documents of a kustomization."""
    done = subprocess.run(
        [KUBECTL, "kustomize", folder], capture_output=True, text=True, check=False, timeout=60
    )
    if done.returncode:
        raise BuildFailed(done.stderr)
    return [each for each in yaml.safe_load_all(done.stdout) if each]


def compose(
    folder: Path,
    resources: Sequence[str],
    components: Sequence[str] = (),
    **more: object,
) -> list[Document]:
    """Build a kustomization of others in `deploy/`, as a user's own does.

    Args:
        folder: Gets the kustomization; may have files that it names.
        resources: Folders below `deploy/`, or files of `folder`.
        components: Folders below `deploy/components`.
        more: Further fields of the kustomization.
    """
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [_from(folder, each) for each in resources],
        "components": [_from(folder, f"components/{each}") for each in components],
        **more,
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    return build(folder)


def compose_sidecar(folder: Path) -> list[Document]:
    """Build what a user writes who wants the Envoy beside her own service."""
    site = build(DEPLOY / SITES[0])
    glance = the(site, "Deployment", "glance")
    (volume,) = glance["spec"]["template"]["spec"]["volumes"]
    config_map = the(site, "ConfigMap", volume["configMap"]["name"])
    glance["metadata"]["labels"]["scopeway.io/sidecar"] = "envoy"
    (folder / "glance.yaml").write_text(yaml.safe_dump_all([glance, config_map]))
    for name in ("envoy.yaml", "identity.yaml", "authorities.yaml"):
        (folder / name).write_text((DEPLOY / SITES[0] / name).read_text())
    return compose(
        folder,
        ["glance.yaml"],
        ["sidecar", "collector"],
        namespace="cloud-1",
        configMapGenerator=[
            {"name": "scopeway-site", "literals": ["SCOPEWAY_CLOUD=cloud-1"]},
            {
                "name": "scopeway-bootstrap",
                "files": ["envoy.yaml", "identity.yaml", "authorities.yaml"],
            },
        ],
    )


def of_kind(documents: Sequence[Document], *kinds: str) -> Iterator[Document]:
    return (each for each in documents if each["kind"] in kinds)


def the(documents: Sequence[Document], kind: str, name: str) -> Document:
    """Return the one document of a kind and name."""
    (found,) = (each for each in of_kind(documents, kind) if each["metadata"]["name"] == name)
    return found


def pods(documents: Sequence[Document]) -> Iterator[Document]:
    """Return each pod template as a Pod: the API server of the tests has no controllers."""
    for workload in of_kind(documents, *WORKLOADS):
        template = workload["spec"]["template"]
        metadata: Mapping[str, Any] = template.get("metadata", {})
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **metadata,
                "name": workload["metadata"]["name"],
                "namespace": workload["metadata"]["namespace"],
            },
            "spec": template["spec"],
        }


def _from(folder: Path, below: str) -> str:
    """Return how a kustomization in a folder names another; kubectl refuses absolute paths."""
    return below if (folder / below).exists() else os.path.relpath(DEPLOY / below, folder)


def dry_run(api: ApiServer, *documents: Document) -> None:
    """Let the API server judge documents as it would on an apply, without storing them."""
    if documents:
        text = "\n---\n".join(map(json.dumps, documents))
        api.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", text=text)


def prepare(api: ApiServer) -> None:
    """Give an API server what our manifests refer to: others' CRDs, namespaces, accounts."""
    api.kubectl("apply", "--server-side", "-f", operator_crds())
    api.apply(spire_stub())
    for crd in ("certificates.cert-manager.io", "clusterspiffeids.spire.spiffe.io"):
        api.kubectl("wait", "--for=condition=Established", f"crd/{crd}")
    documents = [
        document
        for folder in ("control-plane", "site/registration", *SITES)
        for document in build(DEPLOY / folder)
    ]
    api.apply(*of_kind(documents, "Namespace"), _named("Namespace", "cert-manager"))
    # a controller makes the default ones
    defaults = (_named("ServiceAccount", "default", cloud) for cloud in ("cloud-1", "cloud-2"))
    api.apply(*of_kind(documents, "ServiceAccount"), *defaults)


def _named(kind: str, name: str, namespace: str | None = None) -> Document:
    within = {} if namespace is None else {"namespace": namespace}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **within}}
