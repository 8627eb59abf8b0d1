"""Every YAML of docs/kubernetes.md is built, changes something, and is taken by the API server.

A comment above each says what it is: a part of a kustomization with the control plane or a site, or
a file with this name.
"""

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.kubernetes import REPOSITORY, ApiServer
from kustomizations import DEPLOY, BuildFailed, Document, build, dry_run, of_kind, pods

PAGE = (REPOSITORY / "docs" / "kubernetes.md").read_text()
EXAMPLES = re.findall(r"^<!-- (\S+) -->\n```yaml\n(.*?)^```", PAGE, re.M | re.S)
FILES = {name: text for name, text in EXAMPLES if name.endswith(".yaml")}
KUSTOMIZATIONS = [(of, text) for of, text in EXAMPLES if of in ("control-plane", "site", "sidecar")]
QUICKSTART_SITE = DEPLOY / "overlays/quickstart/cloud-1"
BOOTSTRAP = ("envoy.yaml", "identity.yaml", "authorities.yaml")


def test_every_example_says_what_it_is() -> None:
    assert PAGE.count("```yaml") == len(EXAMPLES)
    assert len(KUSTOMIZATIONS) + len(FILES) == len(EXAMPLES) - 1
    assert [of for of, _ in EXAMPLES if of == "cloud"] == ["cloud"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a user's beside a copy of `deploy/`, with all files that examples name."""
    ignored = shutil.ignore_patterns("scopeway-xds", "openstack", "requirements")
    shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=ignored)
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in BOOTSTRAP:
        shutil.copy(QUICKSTART_SITE / name, mine)
    glance = (QUICKSTART_SITE.parent / "site/glance.yaml").read_text()
    label = "labels: {app.kubernetes.io/name: glance"
    assert f"{label}}}" in glance
    labelled = glance.replace(label, f"{label}, scopeway.io/sidecar: envoy", 1)
    (mine / "glance.yaml").write_text(labelled)
    for name, text in FILES.items():
        (mine / name).write_text(text)
    return mine


def whole(of: str, example: str) -> dict[str, Any]:
    """Return an example as a whole kustomization."""
    kustomization: dict[str, Any] = yaml.safe_load(example)
    if "resources" not in kustomization:
        kustomization["resources"] = [f"../deploy/{of}"]
    if of == "site":
        kustomization.setdefault("namespace", "cloud-1")
    return kustomization


@pytest.mark.parametrize(("of", "example"), KUSTOMIZATIONS)
def test_an_example_changes_something_and_is_taken(
    cluster: ApiServer, folder: Path, of: str, example: str
) -> None:
    kustomization = whole(of, example)
    file = folder / "kustomization.yaml"
    file.write_text(yaml.safe_dump(kustomization))
    documents = build(folder)
    for less in without_one_part(kustomization):
        file.write_text(yaml.safe_dump(less))
        with suppress(BuildFailed):  # another part needs it
            assert documents != build(folder), less

    templates = list(pods(documents))
    cluster.apply(*of_kind(documents, "Namespace"), *map(account_of, templates))
    dry_run(cluster, *documents, *templates)


def without_one_part(kustomization: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a kustomization without one component, patch and so on, each once."""
    for name, parts in kustomization.items():
        if name != "resources" and isinstance(parts, list):
            for number in range(len(parts)):
                yield {**kustomization, name: parts[:number] + parts[number + 1 :]}


def account_of(pod: Document) -> Document:
    """Return the account of a pod, which a controller or the kustomization makes."""
    name = pod["spec"].get("serviceAccountName", "default")
    metadata = {"name": name, "namespace": pod["metadata"]["namespace"]}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}


def test_the_manifest_of_a_cloud_is_taken(cluster: ApiServer) -> None:
    (manifest,) = (yaml.safe_load(text) for of, text in EXAMPLES if of == "cloud")

    dry_run(cluster, manifest)
