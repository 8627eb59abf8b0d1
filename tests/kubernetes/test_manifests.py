"""The manifests under deploy/, given to a real API server: schemas, Pod security, rights.

No kubelet and no controllers run here, so a pod template is tried as a Pod.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from harness.kubernetes import ApiServer, KubectlFailed
from kustomizations import (
    DEPLOY,
    Document,
    build,
    compose,
    compose_sidecar,
    dry_run,
    of_kind,
    pods,
    the,
)
from scopeway.control_plane.identity import control_plane_id, spiffe_id

Build = Callable[[Path], list[Document]]

QUICKSTART_SITE = "overlays/quickstart/cloud-1"


def of_site(*components: str) -> Build:
    return lambda folder: compose(folder, [QUICKSTART_SITE], components, namespace="cloud-1")


def of_control_plane(*components: str) -> Build:
    return lambda folder: compose(folder, ["control-plane"], components)


KUSTOMIZATIONS: dict[str, Build] = {
    "crds": lambda _: build(DEPLOY / "crds"),
    "admission": lambda _: build(DEPLOY / "admission"),
    "control plane": lambda _: build(DEPLOY / "control-plane"),
    "registration of a site": lambda _: build(DEPLOY / "site/registration"),
    "quickstart": lambda _: build(DEPLOY / "overlays/quickstart"),
    "sidecar": compose_sidecar,
    "control plane with etcd": of_control_plane("etcd"),
    "control plane with cert-manager": of_control_plane(
        "cert-manager/issuer", "cert-manager/control-plane"
    ),
    "control plane with SPIRE": of_control_plane("spire/control-plane"),
    "control plane with the Prometheus operator": of_control_plane("prometheus-operator"),
    "control plane with all but SPIRE": of_control_plane(
        "etcd", "prometheus-operator", "cert-manager/issuer", "cert-manager/control-plane"
    ),
    "site with cert-manager": of_site("cert-manager/site"),
    "site with SPIRE": of_site("spire/site"),
}


@contextmanager
def refused(*words: str) -> Iterator[None]:
    with pytest.raises(KubectlFailed) as failed:
        yield
    for word in words:
        assert word in str(failed.value)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_the_api_server_takes_every_document(cluster: ApiServer, tmp_path: Path, name: str) -> None:
    documents = KUSTOMIZATIONS[name](tmp_path)

    assert documents
    dry_run(cluster, *documents)


def test_an_apply_that_changes_nothing_changes_nothing(cluster: ApiServer) -> None:
    """Else tools that compare what is declared with what is stored would never come to rest."""
    for folder in ("control-plane", "site/registration", QUICKSTART_SITE):
        path = DEPLOY / folder
        cluster.kubectl("apply", "--server-side", "-k", path)

        assert cluster.kubectl("diff", "--server-side", "-k", path).stdout == ""


def test_every_kustomization_and_component_is_tried() -> None:
    """A folder without a test above would rot."""
    kinds = {"Kustomization": set[str](), "Component": set[str]()}
    for file in DEPLOY.rglob("kustomization.yaml"):
        kind = "Component" if "kind: Component" in file.read_text() else "Kustomization"
        kinds[kind].add(str(file.parent.relative_to(DEPLOY)))

    below_quickstart = {f"overlays/quickstart/{name}" for name in ("site", "cloud-1", "cloud-2")}
    assert kinds["Kustomization"] - below_quickstart == {
        "admission",
        "control-plane",
        "crds",
        "overlays/quickstart",
        "site",
        "site/registration",
    }
    assert kinds["Component"] == {
        f"components/{name}"
        for name in (
            "cert-manager/control-plane",
            "cert-manager/issuer",
            "cert-manager/site",
            "collector",
            "etcd",
            "prometheus-operator",
            "sidecar",
            "spire/control-plane",
            "spire/site",
        )
    }


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_every_pod_is_restricted(cluster: ApiServer, tmp_path: Path, name: str) -> None:
    documents = KUSTOMIZATIONS[name](tmp_path)

    dry_run(cluster, *pods(documents))


def test_a_pod_that_is_not_restricted_is_refused(cluster: ApiServer) -> None:
    """Else the test above would show nothing."""
    for namespaced in ("control-plane", QUICKSTART_SITE):
        for pod in pods(build(DEPLOY / namespaced)):
            worse = deepcopy(pod)
            worse["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
            with refused("violates PodSecurity", "restricted"):
                dry_run(cluster, worse)


def test_no_pod_runs_as_root_or_writes_to_its_root(tmp_path: Path) -> None:
    """Pod security does not ask for a root file system that is read-only."""
    for make in KUSTOMIZATIONS.values():
        for pod in pods(make(tmp_path)):
            spec = pod["spec"]
            for container in (*spec.get("initContainers", ()), *spec["containers"]):
                assert container["securityContext"]["readOnlyRootFilesystem"] is True
                assert container["resources"]["limits"]["memory"]
                assert container["resources"]["requests"].keys() == {"cpu", "memory"}


@pytest.mark.parametrize(
    ("kind", "name", "field"),
    [
        ("Certificate", "scopeway-control-plane", "uriss"),
        ("PodMonitor", "scopeway", "podMetricsEndpoint"),
        ("PrometheusRule", "scopeway", "group"),
        ("ClusterSPIFFEID", "scopeway-control-plane", "spiffeId"),
    ],
)
def test_custom_resources_of_others_are_checked(
    cluster: ApiServer, tmp_path: Path, kind: str, name: str, field: str
) -> None:
    """A field that the CRD does not know is refused, so the fields that we use are known."""
    components = ("cert-manager/control-plane", "prometheus-operator", "spire/control-plane")
    document = the(of_control_plane(*components)(tmp_path), kind, name)
    cluster.apply(document)

    document["spec"][field] = ["x"]
    with refused(field):
        dry_run(cluster, document)


def settings(name: str, *literals: str, **more: str) -> list[dict[str, Any]]:
    return [{"name": name, "literals": list(literals), **more}]


def test_certificates_have_the_names_of_the_settings(tmp_path: Path) -> None:
    """Whoever sets the trust domain, or copies a site for another cloud, patches no URI."""
    of_control_plane = compose(
        tmp_path,
        ["control-plane"],
        ["cert-manager/control-plane"],
        configMapGenerator=settings(
            "scopeway-settings",
            "SCOPEWAY_TRUST_DOMAIN=edge.example",
            namespace="scopeway-system",
            behavior="merge",
        ),
    )
    of_site = compose(
        tmp_path,
        ["site"],
        ["cert-manager/site", "spire/site"],
        namespace="cloud-7",
        configMapGenerator=settings("scopeway-site", "SCOPEWAY_CLOUD=cloud-7"),
    )

    (certificate,) = of_kind(of_control_plane, "Certificate")
    assert certificate["spec"]["uris"] == [control_plane_id("edge.example")]
    (certificate,) = of_kind(of_site, "Certificate")
    assert certificate["spec"]["uris"] == [spiffe_id("scopeway", "cloud-7")]
    (identity,) = of_kind(of_site, "ClusterSPIFFEID")
    template = identity["spec"]["spiffeIDTemplate"].replace("{{ .TrustDomain }}", "scopeway")
    assert template == spiffe_id("scopeway", "cloud-7")
    labels = identity["spec"]["namespaceSelector"]["matchLabels"]
    assert labels == {"kubernetes.io/metadata.name": "cloud-7"}


# -- rights


@pytest.fixture(scope="module")
def control_plane(cluster: ApiServer) -> Path:
    """The kubeconfig of the control plane's account, with its rights."""
    documents = build(DEPLOY / "control-plane")
    kinds = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
    cluster.apply(*of_kind(documents, *kinds))
    return cluster.kubeconfig_for("scopeway", namespace="scopeway-system")


def rights(cluster: ApiServer, kubeconfig: Path, namespace: str) -> set[tuple[str, ...]]:
    """Return what an account may do in a namespace, beyond what every account may do there."""
    every = cluster.kubeconfig_for("default", namespace="cloud-1")
    return _rules(cluster, kubeconfig, namespace) - _rules(cluster, every, namespace)


def _rules(cluster: ApiServer, kubeconfig: Path, namespace: str) -> set[tuple[str, ...]]:
    """Return (verb, group, resource[, name]) of each right."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    create = ("create", "--validate=false", "-o", "json", "-f", "-")
    answer = cluster.kubectl(*create, text=json.dumps(review), kubeconfig=kubeconfig)
    status: dict[str, Any] = json.loads(answer.stdout)["status"]
    return {
        (verb, group, resource, *rule.get("resourceNames", ()))
        for rule in status["resourceRules"]
        for verb in rule["verbs"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


READ = {
    (verb, "scopeway.io", resource)
    for verb in ("get", "list", "watch")
    for resource in ("edgeclouds", "cordons", "servicetypes")
} | {
    ("patch", "scopeway.io", f"{resource}/status")
    for resource in ("edgeclouds", "cordons", "servicetypes")
}
OF_REPLICAS = {
    (verb, group, resource)
    for verb in ("get", "list", "create", "update", "delete")
    for group, resource in (("coordination.k8s.io", "leases"), ("", "configmaps"))
}


def test_the_control_plane_may_do_this_and_nothing_else(
    cluster: ApiServer, control_plane: Path
) -> None:
    assert rights(cluster, control_plane, "scopeway-system") == READ | OF_REPLICAS
    assert rights(cluster, control_plane, "default") == READ | {
        ("create", "events.k8s.io", "events")
    }
    assert rights(cluster, control_plane, "kube-system") == READ


@pytest.mark.parametrize(
    "forbidden",
    [
        ("get", "secrets", "-n", "scopeway-system"),
        ("get", "pods", "-n", "scopeway-system"),
        ("delete", "edgecloud", "cloud-1"),
        ("get", "configmaps", "-n", "kube-system"),
        ("create", "namespace", "mine"),
    ],
)
def test_the_control_plane_is_refused(
    cluster: ApiServer, control_plane: Path, forbidden: tuple[str, ...]
) -> None:
    with refused("forbidden", "system:serviceaccount:scopeway-system:scopeway"):
        cluster.kubectl(*forbidden, kubeconfig=control_plane)


def edge_cloud(name: str) -> Document:
    return {
        "apiVersion": "scopeway.io/v1alpha1",
        "kind": "EdgeCloud",
        "metadata": {"name": name},
        "spec": {
            "peer": {"address": "192.0.2.1", "port": 8443},
            "services": {"image": {"endpoints": [{"address": "192.0.2.1", "port": 9292}]}},
        },
    }


@pytest.fixture(scope="module")
def site(cluster: ApiServer) -> Path:
    """The kubeconfig of the account of cloud-1."""
    cluster.apply(*build(DEPLOY / "site/registration"))
    return cluster.kubeconfig_for("cloud-1", namespace="scopeway-sites")


def test_a_site_registers_itself(cluster: ApiServer, site: Path) -> None:
    try:
        cluster.apply(edge_cloud("cloud-1"), kubeconfig=site)
        cluster.apply(edge_cloud("cloud-1"), kubeconfig=site)
        assert cluster.get("edgecloud", "cloud-1")["spec"]["peer"]["port"] == 8443
    finally:
        cluster.kubectl("delete", "edgecloud", "cloud-1", "--ignore-not-found")


def test_a_site_registers_no_other_and_reads_no_other(cluster: ApiServer, site: Path) -> None:
    with refused("forbidden", "cloud-2"):
        cluster.apply(edge_cloud("cloud-2"), kubeconfig=site)
    with refused("forbidden"):
        cluster.kubectl("get", "edgeclouds", kubeconfig=site)
    with refused("forbidden"):
        cluster.kubectl("delete", "edgecloud", "cloud-1", kubeconfig=site)

    assert rights(cluster, site, "scopeway-sites") == {
        (verb, "scopeway.io", "edgeclouds", "cloud-1") for verb in ("get", "create", "patch")
    }


def test_without_the_api_server_the_control_plane_has_no_rights(tmp_path: Path) -> None:
    """With etcd: no token in the pod, and no role."""
    documents = of_control_plane("etcd")(tmp_path)

    assert not list(of_kind(documents, "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"))
    pod = the(documents, "Deployment", "scopeway")["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
