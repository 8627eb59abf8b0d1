"""The commands that write clouds, over a real API server."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_command_cases import CloudCommandCases, document
from harness.fleet import at
from harness.kubernetes import ApiServer
from service_type_command_cases import ServiceTypeCommandCases
from service_type_command_cases import document as type_document

Command = Callable[..., Any]
RULE = [{"clouds": ["cloud-9"]}]
ROLE = "rbac.authorization.k8s.io/v1"
GROUP = "rbac.authorization.k8s.io"


@pytest.fixture
def registry(api_server: ApiServer) -> Iterator[str]:
    """The API server, which has none of our objects before and after."""
    yield api_server.registry
    api_server.kubectl("delete", "--all", "--wait=false", "edgeclouds,cordons,servicetypes")


@pytest.fixture
def cloud(scopeway: Command, registry: str) -> Command:
    """Run `scopeway cloud COMMAND`."""

    def cloud(command: str, *arguments: object) -> Any:
        return scopeway("cloud", command, "--registry", registry, *arguments)

    return cloud


class TestClouds(CloudCommandCases):
    """The cases of every registry."""


class TestServiceTypes(ServiceTypeCommandCases):
    """The cases of every registry."""


def test_explain_reads_the_objects(
    scopeway: Command, registry: str, cloud: Command, write: Callable[..., Path]
) -> None:
    clouds = document("cloud-1"), document("cloud-2", accept=[{"clouds": ["cloud-1"]}])
    cloud("put", write("clouds.yaml", *clouds))

    def explain() -> Any:
        options = ("--registry", registry, "--from", "cloud-1", "--scope", "{glance:cloud-2}")
        return scopeway("explain", *options, "--format", "json", "image")

    served = explain()
    cloud("cordon", "cloud-2", "--reason", "new disks")
    cordoned = explain()

    assert (served.status, json.loads(served.out)["clouds"]) == (0, ["cloud-2"])
    assert cordoned.status == 3
    assert json.loads(cordoned.out)["reason"] == "cloud-2 is cordoned: new disks"


class TestFieldManagers:
    """Two who write the same cloud."""

    @pytest.fixture
    def theirs(self, api_server: ApiServer, registry: str) -> dict[str, Any]:
        """A cloud that kubectl has applied; it has a rule."""
        theirs = document("cloud-1", accept=RULE)
        api_server.apply(theirs)
        return theirs

    def test_a_field_of_another_manager_is_not_changed(
        self, cloud: Command, write: Callable[..., Path], theirs: dict[str, Any]
    ) -> None:
        changed = document("cloud-1", accept=[{"clouds": ["cloud-8"]}])
        put = cloud("put", write("one.yaml", document("cloud-2"), changed))

        assert (put.status, put.out) == (1, "")
        assert put.err == (
            "scopeway: nothing was written\n"
            "cloud-1: spec.accept is owned by the field manager kubectl; "
            "change it there, or replace it with --force\n"
        )
        assert json.loads(cloud("get", "cloud-1", "--format", "json").out) == theirs
        assert cloud("get", "cloud-2").status == 1

    def test_a_rule_of_another_manager_does_not_survive_unnoticed(
        self, cloud: Command, write: Callable[..., Path], theirs: dict[str, Any]
    ) -> None:
        """Server-side apply alone would keep it: a manifest without rules would let cloud-9 in."""
        put = cloud("put", write("one.yaml", document("cloud-1")))

        assert put.status == 1
        assert put.err.splitlines()[1] == (
            "cloud-1: spec.accept is owned by the field manager kubectl, and not in this document; "
            "change it there, or replace it with --force"
        )
        assert json.loads(cloud("get", "cloud-1", "--format", "json").out) == theirs

    def test_force_replaces_the_whole_cloud(
        self, cloud: Command, write: Callable[..., Path], theirs: dict[str, Any]
    ) -> None:
        wanted = document("cloud-1", services={"image": {"endpoints": [at(9293)]}})
        put = cloud("put", "--force", write("one.yaml", wanted))
        again = cloud("put", write("one.yaml", wanted))

        assert (put.status, put.out, put.err) == (0, "cloud-1 registered\n", "")
        assert json.loads(cloud("get", "cloud-1", "--format", "json").out) == wanted
        assert (again.status, again.err) == (0, "")

    def test_force_removes_labels_and_words_of_others_and_no_annotations(
        self,
        api_server: ApiServer,
        cloud: Command,
        scopeway: Command,
        registry: str,
        write: Callable[..., Path],
    ) -> None:
        theirs = document("cloud-1")
        theirs["metadata"] |= {
            "labels": {"region": "eu", "tier": "core", "app.kubernetes.io/managed-by": "Helm"},
            "annotations": {"meta.helm.sh/release-name": "clouds"},
        }
        api_server.apply(theirs, type_document("sensor", aliases=["probe", "gauge"]))
        put = cloud("put", "--force", write("one.yaml", document("cloud-1")))
        ours = write("two.yaml", type_document("sensor", aliases=["gauge"]))
        refused = scopeway("service-type", "put", "--registry", registry, ours)
        declared = scopeway("service-type", "put", "--force", "--registry", registry, ours)
        found = api_server.get("ec", "cloud-1")["metadata"]

        assert put.status == declared.status == 0
        assert found["labels"] == {"region": "eu", "app.kubernetes.io/managed-by": "Helm"}
        assert found["annotations"] == {"meta.helm.sh/release-name": "clouds"}
        assert "sensor: spec.aliases is owned by the field manager kubectl; " in refused.err
        assert api_server.get("sty", "sensor")["spec"]["aliases"] == ["gauge"]

    def test_a_cordon_takes_its_reason_over(
        self, api_server: ApiServer, cloud: Command, registry: str
    ) -> None:
        mark = {"apiVersion": "scopeway.io/v1alpha1", "kind": "Cordon"}
        api_server.apply(
            {**mark, "metadata": {"name": "cloud-1"}, "spec": {"reason": "of kubectl"}}
        )
        cloud("cordon", "cloud-1", "--reason", "new disks")
        first = api_server.get("cordons", "cloud-1")["spec"]
        cloud("cordon", "cloud-1")
        second = api_server.get("cordons", "cloud-1").get("spec", {})

        assert (first, second) == ({"reason": "new disks"}, {})


MARS = "!has(object.metadata.labels) || object.metadata.labels[?'region'].orValue('') != 'mars'"
"""Lets the clouds of other tests pass, which share the API server."""


def test_every_refusal_of_an_admission_policy_is_one_line(
    api_server: ApiServer, cloud: Command, write: Callable[..., Path]
) -> None:
    """Scopeway checks what its own policy checks, so this one is somebody else's."""
    api_server.apply(*_policy("no-region-mars", "the region mars is full"))
    full = {"region": "mars"}
    bad = [document(name) for name in ("cloud-1", "cloud-2")]
    for each in bad:
        each["metadata"]["labels"] = full
    files = write("good.yaml", document("cloud-3")), write("bad.yaml", *bad)

    def is_in_force() -> bool:
        return cloud("put", files[1]).status == 1

    try:
        api_server.server.wait_until(is_in_force, "the policy is in force")
        refused, checked = cloud("put", *files), cloud("check", *files)
    finally:
        kinds = "validatingadmissionpolicybindings,validatingadmissionpolicies"
        api_server.kubectl("delete", kinds, "no-region-mars")

    assert (refused.status, refused.out) == (1, "")
    assert checked == refused
    assert refused.err == (
        "scopeway: nothing was written\n"
        "cloud-1: the region mars is full (admission policy no-region-mars)\n"
        "cloud-2: the region mars is full (admission policy no-region-mars)\n"
    )
    assert cloud("get", "cloud-3").status == 1


def _policy(name: str, message: str) -> tuple[dict[str, Any], ...]:
    head = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    rule = {
        "apiGroups": ["scopeway.io"],
        "apiVersions": ["*"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["edgeclouds"],
    }
    check = {"expression": MARS, "message": message}
    policy = {"matchConstraints": {"resourceRules": [rule]}, "validations": [check]}
    binding = {"policyName": name, "validationActions": ["Deny"]}
    return (
        {**head, "kind": "ValidatingAdmissionPolicy", "spec": policy},
        {**head, "kind": "ValidatingAdmissionPolicyBinding", "spec": binding},
    )


def test_a_time_to_live_is_refused(cloud: Command, write: Callable[..., Path]) -> None:
    put = cloud("put", "--ttl", 600, write("one.yaml", document("cloud-1")))

    assert (put.status, put.out) == (1, "")
    assert put.err == (
        "scopeway: kubernetes: has no heartbeats, so --ttl cannot be used: an EdgeCloud stays "
        "until it is deleted\n"
    )
    assert cloud("get", "cloud-1").status == 1


def test_a_user_without_the_right_is_told_which_one_is_missing(
    api_server: ApiServer, scopeway: Command, write: Callable[..., Path], registry: str
) -> None:
    nobody = f"kubernetes:{api_server.kubeconfig_of('nobody')}"
    file = write("one.yaml", document("cloud-1"))
    outcomes = {
        "patch": scopeway("cloud", "put", "--registry", nobody, file),
        "get": scopeway("cloud", "get", "--registry", nobody, "cloud-1"),
        "delete": scopeway("cloud", "delete", "--registry", nobody, "cloud-1"),
    }

    for verb, outcome in outcomes.items():
        (line,) = outcome.err.splitlines()
        assert (outcome.status, outcome.out) == (1, "")
        assert f"grant {verb} on edgeclouds of scopeway.io to this user" in line


def test_a_site_may_register_itself_alone(
    api_server: ApiServer, scopeway: Command, write: Callable[..., Path], registry: str
) -> None:
    """With a role for one name, and no right to read service types."""
    rule = {
        "apiGroups": ["scopeway.io"],
        "resources": ["edgeclouds"],
        "resourceNames": ["cloud-1"],
        "verbs": ["create", "patch"],
    }
    _grant(api_server, "cloud-1", rule)
    site = f"kubernetes:{api_server.kubeconfig_of('cloud-1')}"
    services = {"sensor": {"endpoints": [at(9292)]}}
    own = write("own.yaml", document("cloud-1", services=services))

    def put(file: Path) -> Any:
        return scopeway("cloud", "put", "--registry", site, file)

    good, bad = put(own), put(write("other.yaml", document("cloud-2")))

    assert good.out == "cloud-1 registered\n"
    assert good.err.startswith("warning: service types are not checked: ")
    assert bad.status == 1
    assert "grant patch on edgeclouds of scopeway.io" in bad.err


def test_a_cordon_is_set_by_who_may_not_read_clouds(
    api_server: ApiServer, scopeway: Command, cloud: Command
) -> None:
    rule = {"apiGroups": ["scopeway.io"], "resources": ["cordons"], "verbs": ["create", "patch"]}
    _grant(api_server, "watchman", rule)
    watchman = f"kubernetes:{api_server.kubeconfig_of('watchman')}"
    outcome = scopeway("cloud", "cordon", "--registry", watchman, "cloud-1")

    assert (outcome.status, outcome.out, outcome.err) == (0, "cloud-1 cordoned\n", "")
    assert cloud("list").err == "cordoned: cloud-1 (not registered)\n"


def _grant(server: ApiServer, user: str, rule: dict[str, Any]) -> None:
    """Give a user one right, and wait until it counts."""
    head = {"apiVersion": ROLE, "metadata": {"name": f"of-{user}"}}
    reference = {"apiGroup": GROUP, "kind": "ClusterRole", "name": f"of-{user}"}
    subject = {"apiGroup": GROUP, "kind": "User", "name": user}
    server.apply(
        {**head, "kind": "ClusterRole", "rules": [rule]},
        {**head, "kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]},
    )
    names = [f"/{name}" for name in rule.get("resourceNames", ())] or [""]
    for resource in rule["resources"]:
        for verb in rule["verbs"]:
            ask = ("auth", "can-i", verb, f"{resource}.scopeway.io{names[0]}", "--as", user)
            server.server.wait_until(
                lambda ask=ask: server.kubectl(*ask, check=False).returncode == 0,
                "the role counts",
            )


def test_a_site_with_more_rights_is_told_by_the_admission_policy_what_it_may_write(
    api_server: ApiServer, scopeway: Command, cloud: Command, write: Callable[..., Path]
) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "scopeway-sites"}}
    metadata = {"name": "cloud-1", "namespace": "scopeway-sites"}
    api_server.apply(namespace)
    api_server.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    verbs = ["create", "patch", "delete"]
    rule = {"apiGroups": ["scopeway.io"], "resources": ["edgeclouds"], "verbs": verbs}
    _grant(api_server, "system:serviceaccount:scopeway-sites:cloud-1", rule)
    account = api_server.kubeconfig_for("cloud-1", namespace="scopeway-sites")
    other = write("other.yaml", document("cloud-2"))
    cloud("put", other)

    put = scopeway("cloud", "put", "--force", "--registry", f"kubernetes:{account}", other)
    deleted = scopeway("cloud", "delete", "--registry", f"kubernetes:{account}", "cloud-2")
    sentence = (
        "the site cloud-1 may write its own EdgeCloud only, not cloud-2 "
        "(admission policy sites.scopeway.io)\n"
    )

    api_server.kubectl(  # other tests look at the rights of this account
        "delete", "clusterrolebinding", "of-system:serviceaccount:scopeway-sites:cloud-1"
    )
    assert put.err == f"scopeway: nothing was written\ncloud-2: {sentence}"
    assert deleted.err == f"scopeway: {sentence}"
    assert cloud("get", "cloud-2").status == 0


def test_an_api_server_without_our_resources_is_one_sentence(
    make_api_server: Callable[..., ApiServer], scopeway: Command, write: Callable[..., Path]
) -> None:
    server = make_api_server(ours=False)
    put = scopeway(
        "cloud", "put", "--registry", server.registry, write("one.yaml", document("cloud-1"))
    )
    server.kill()
    away = scopeway("cloud", "get", "--registry", server.registry, "cloud-1")

    assert put.status == away.status == 1
    assert "does not know edgeclouds of scopeway.io/v1alpha1; install the custom" in put.err
    assert len(put.err.splitlines()) == len(away.err.splitlines()) == 1
    assert "connection refused" in away.err


@pytest.mark.parametrize("name", ["a/status", "../../namespaces/default", "x?y=z", "%2e%2e", "A"])
def test_a_name_never_leads_to_another_path(cloud: Command, name: str) -> None:
    assert cloud("get", name).err == f"scopeway: no cloud is named {name}\n"
    assert cloud("delete", name).err == f"scopeway: no cloud is named {name}\n"
    assert cloud("uncordon", name).err == f"scopeway: not cordoned: {name}\n"
