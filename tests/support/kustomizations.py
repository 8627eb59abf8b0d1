"""The kustomizations under `deploy/`, built by kubectl; it asks no API server for that."""

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from harness.kubernetes import KUBECTL, REPOSITORY

DEPLOY: Final = REPOSITORY / "deploy"

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
