"""The custom resource definitions of other projects that the components under `deploy/` use."""

import subprocess
from pathlib import Path
from typing import Any, Final

from harness.kubernetes import REPOSITORY

FETCH: Final = REPOSITORY / "tests/support/kubernetes_programs/fetch_crds"


def operator_crds() -> Path:
    """Return a folder with the CRDs of cert-manager and the Prometheus operator.

    They are the real ones, from the Go modules of these projects.

    Raises:
        RuntimeError: they could not be fetched; standard error says why.
    """
    fetched = subprocess.run([FETCH], stdout=subprocess.PIPE, text=True, check=False)
    if fetched.returncode:
        raise RuntimeError(f"{FETCH.name} failed; see standard error")
    return Path(fetched.stdout.strip())


def spire_stub() -> dict[str, Any]:
    """Return a stand-in for the CRD ClusterSPIFFEID.

    The module of SPIRE's controller manager was not to be had where these tests were written. The
    stub has the fields of its documentation that our manifests use, and refuses all others.
    """
    selector = {
        "type": "object",
        "properties": {
            "matchLabels": {"type": "object", "additionalProperties": {"type": "string"}}
        },
    }
    spec = {
        "type": "object",
        "required": ["spiffeIDTemplate"],
        "properties": {
            "spiffeIDTemplate": {"type": "string"},
            "podSelector": selector,
            "namespaceSelector": selector,
        },
    }
    schema = {"type": "object", "properties": {"spec": spec}}
    version = {
        "name": "v1alpha1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "clusterspiffeids.spire.spiffe.io"},
        "spec": {
            "group": "spire.spiffe.io",
            "names": {
                "kind": "ClusterSPIFFEID",
                "plural": "clusterspiffeids",
                "singular": "clusterspiffeid",
            },
            "scope": "Cluster",
            "versions": [version],
        },
    }
