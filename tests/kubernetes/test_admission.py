"""What a schema cannot see: labels, and who is asking."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.kubernetes import ApiServer

NAMESPACE = "scopeway-sites"
SITE = f"system:serviceaccount:{NAMESPACE}:cloud-1"
RIGHTS = [
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "all-of-scopeway"},
        "rules": [{"apiGroups": ["scopeway.io"], "resources": ["*"], "verbs": ["*"]}],
    },
    {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "all-of-scopeway"},
        "roleRef": {
            **{"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"},
            "name": "all-of-scopeway",
        },
        "subjects": [
            {
                **{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group"},
                "name": "system:serviceaccounts",
            }
        ],
    },
]
"""More than a site ever gets: what is refused here, the policy refuses."""


def document(kind: str, name: str, **more: Any) -> str:
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": kind, "metadata": {"name": name}}
    return json.dumps({**head, "spec": {}, **more})


@pytest.fixture(scope="module")
def site(api_server: ApiServer) -> Iterator[Path]:
    """The kubeconfig of the site cloud-1, with a token of its service account."""
    for name in (NAMESPACE, "elsewhere"):
        account = {"name": "cloud-1", "namespace": name}
        api_server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        api_server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    api_server.apply(*RIGHTS)
    yield api_server.kubeconfig_for("cloud-1", namespace=NAMESPACE)
    for each in RIGHTS:
        api_server.kubectl("delete", each["kind"], "all-of-scopeway")


@pytest.fixture
def objects(api_server: ApiServer) -> Iterator[None]:
    """A cloud of another site, and what an operator has made."""
    kept = [("EdgeCloud", "cloud-2"), ("Cordon", "cloud-1"), ("ServiceType", "sensor")]
    for kind, name in kept:
        api_server.kubectl("create", "-f", "-", text=document(kind, name))
    yield
    for kind, name in kept:
        api_server.kubectl("delete", kind, name)
    api_server.kubectl("delete", "ec", "cloud-1", "--ignore-not-found")


@pytest.mark.usefixtures("objects")
def test_a_site_writes_its_own_cloud(api_server: ApiServer, site: Path) -> None:
    text = document("EdgeCloud", "cloud-1")
    api_server.kubectl("create", "-f", "-", text=text, kubeconfig=site)
    api_server.kubectl("replace", "-f", "-", text=text, kubeconfig=site)
    patch = json.dumps({"spec": {"acceptMode": "audit"}})
    api_server.kubectl("patch", "ec", "cloud-1", "--type=merge", "-p", patch, kubeconfig=site)
    api_server.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", text=text, kubeconfig=site
    )
    api_server.kubectl("get", "ec", "cloud-2", kubeconfig=site)
    api_server.kubectl("delete", "ec", "cloud-1", kubeconfig=site)


OWN_ONLY = "the site cloud-1 may write its own EdgeCloud only, not {}"
PATCH = ("--type=merge", "-p", '{"spec": {"acceptMode": "audit"}}')
STATUS = ("--subresource=status", "--type=merge", "-p", '{"status": {"conditions": []}}')


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize(
    ("arguments", "text", "other"),
    [
        (("create", "-f", "-"), document("EdgeCloud", "cloud-3"), "cloud-3"),
        (("apply", "--server-side", "-f", "-"), document("EdgeCloud", "cloud-3"), "cloud-3"),
        (
            ("replace", "-f", "-"),
            document("EdgeCloud", "cloud-2", spec={"acceptMode": "audit"}),
            "cloud-2",
        ),
        (("patch", "ec", "cloud-2", *PATCH), None, "cloud-2"),
        (("annotate", "ec", "cloud-2", "a=b"), None, "cloud-2"),
        (("delete", "ec", "cloud-2"), None, "cloud-2"),
        (("delete", "ec", "--all"), None, "cloud-2"),
        (("delete", "--raw", "/apis/scopeway.io/v1alpha1/edgeclouds"), None, "cloud-2"),
        (("create", "-f", "-"), document("Cordon", "cloud-3"), "cordons"),
        (("delete", "cordon", "cloud-1"), None, "cordons"),
        (
            ("patch", "cordon", "cloud-1", "--type=merge", "-p", '{"spec": {"reason": "x"}}'),
            None,
            "cordons",
        ),
        (("create", "-f", "-"), document("ServiceType", "gauge"), "servicetypes"),
        (("delete", "sty", "sensor"), None, "servicetypes"),
        (("patch", "ec", "cloud-2", *STATUS), None, "edgeclouds/status"),
        (("patch", "cordon", "cloud-1", *STATUS), None, "cordons/status"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, tuple) else "",
)
def test_a_site_writes_nothing_else(
    api_server: ApiServer, site: Path, arguments: tuple[str, ...], text: str | None, other: str
) -> None:
    done = api_server.kubectl(*arguments, text=text, kubeconfig=site, check=False)

    assert OWN_ONLY.format(other) in done.stderr
    kept = "ec/cloud-2", "cordon/cloud-1", "sty/sensor"
    found = api_server.get(*kept)["items"]
    assert [each.get("status") for each in found] == [None, None, None]
    assert api_server.kubectl("get", "ec", "cloud-3", check=False).returncode


@pytest.mark.usefixtures("objects")
def test_a_site_does_not_write_its_own_status(api_server: ApiServer, site: Path) -> None:
    text = document("EdgeCloud", "cloud-1")
    api_server.kubectl("create", "-f", "-", text=text, kubeconfig=site)
    done = api_server.kubectl("patch", "ec", "cloud-1", *STATUS, kubeconfig=site, check=False)

    assert OWN_ONLY.format("edgeclouds/status") in done.stderr


OWNER = {
    **{"apiVersion": "v1", "kind": "Namespace", "name": "default"},
    "uid": "00000000-0000-0000-0000-000000000001",
}
PATCH_OWN = ("patch", "ec", "cloud-1", *PATCH)
HOLDS = [("finalizers", ["a.example/hold"]), ("ownerReferences", [OWNER])]


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize(("field", "value"), HOLDS, ids=[field for field, _ in HOLDS])
def test_a_site_leaves_alone_what_decides_over_deletion(
    api_server: ApiServer, site: Path, field: str, value: Any
) -> None:
    def by_site(*arguments: str, text: str | None = None) -> str:
        options = ("--dry-run=server", *arguments)
        return api_server.kubectl(*options, text=text, kubeconfig=site, check=False).stderr

    def patch(value: object) -> tuple[str, ...]:
        text = json.dumps({"metadata": {field: value}})
        return ("patch", "ec", "cloud-1", "--type=merge", "-p", text)

    plain, refused = document("EdgeCloud", "cloud-1"), f"may not change metadata.{field} of its"
    held = document("EdgeCloud", "cloud-1", metadata={"name": "cloud-1", field: value})

    assert refused in by_site("create", "-f", "-", text=held)
    api_server.kubectl("create", "-f", "-", text=plain)
    assert refused in by_site(*patch(value))
    api_server.kubectl(*patch(value))
    try:
        assert not by_site(*PATCH_OWN)  # what an operator has added may stay
        assert refused in by_site(*patch(None))
    finally:
        api_server.kubectl(*patch(None))


@pytest.mark.usefixtures("site", "objects")
@pytest.mark.parametrize(
    "user",
    [
        "system:serviceaccount:elsewhere:cloud-1",
        "system:serviceaccount:scopeway-system:scopeway",
        "system:serviceaccount:scopeway-sites-2:cloud-1",
    ],
)
def test_the_policy_of_sites_concerns_no_other_account(api_server: ApiServer, user: str) -> None:
    options = ("--dry-run=server", f"--as={user}", "--as-group=system:serviceaccounts")
    api_server.kubectl("create", *options, "-f", "-", text=document("EdgeCloud", "cloud-3"))
    api_server.kubectl("delete", *options, "cordon", "cloud-1")


@pytest.mark.usefixtures("objects")
def test_a_site_is_known_by_its_name_alone(api_server: ApiServer, site: Path) -> None:
    """Whoever acts for a site, by impersonation, has the rights of the site."""
    group = "--as-group=system:serviceaccounts"
    for name, allowed in (("cloud-1", True), ("cloud-2", False)):
        options = (f"--as={SITE}", group, "--dry-run=server")
        done = api_server.kubectl(
            *("apply", "--server-side", *options, "-f", "-"),
            text=document("EdgeCloud", name),
            check=False,
        )
        assert (done.returncode == 0) is allowed


HINT = (
    "is not made of lower case letters, digits and inner '-', '.' or '_', at most 63; labels of "
    "other tools have a '/' in their key"
)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({"region": "EU"}, f'metadata.labels.region: "EU" {HINT}'),
        ({"Region": "eu"}, f'metadata.labels: "Region" {HINT}'),
        ({"region": ""}, f'metadata.labels.region: "" {HINT}'),
        ({"_x": "eu"}, "metadata.labels: Invalid value"),
        ({f"k{number}": "v" for number in range(65)}, "more than 64 entries without a '/'"),
    ],
)
def test_a_label_that_no_scope_can_hold_is_refused(
    api_server: ApiServer, labels: dict[str, str], sentence: str
) -> None:
    text = document("EdgeCloud", "cloud-1", metadata={"name": "cloud-1", "labels": labels})
    done = api_server.kubectl("create", "--dry-run=server", "-f", "-", text=text, check=False)

    assert sentence in done.stderr


def test_labels_of_other_tools_are_let_be(api_server: ApiServer) -> None:
    labels = {
        **{f"a.example/k{number}": "V" for number in range(80)},
        "app.kubernetes.io/managed-by": "Helm",
        "argocd.argoproj.io/instance": "Clouds_1",
        "a.example/empty": "",
        "region": "eu-west_1.a",
    }
    text = document("EdgeCloud", "cloud-1", metadata={"name": "cloud-1", "labels": labels})

    api_server.kubectl("create", "--dry-run=server", "-f", "-", text=text)


def test_labels_of_cordons_and_service_types_are_let_be(api_server: ApiServer) -> None:
    for kind in ("Cordon", "ServiceType"):
        text = document(kind, "sensor", metadata={"name": "sensor", "labels": {"Any": "Label"}})
        api_server.kubectl("create", "--dry-run=server", "-f", "-", text=text)


def test_a_policy_that_cannot_be_evaluated_denies(api_server: ApiServer) -> None:
    for kind in ("edgeclouds", "cordons", "servicetypes", "sites"):
        policy = api_server.get("validatingadmissionpolicy", f"{kind}.scopeway.io")
        binding = api_server.get("validatingadmissionpolicybinding", f"{kind}.scopeway.io")
        assert policy["spec"]["failurePolicy"] == "Fail"
        assert binding["spec"]["validationActions"] == ["Deny"]
