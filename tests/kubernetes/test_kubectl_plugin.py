"""`kubectl scopeway`, run by a real kubectl over a real API server."""

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cloud_command_cases import document
from harness.kubernetes import REPOSITORY, ApiServer

Kubectl = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def executables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the executables that the distribution installs."""
    folder = tmp_path_factory.mktemp("bin")
    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    for name, entry in scripts.items():
        module, _, function = entry.partition(":")
        script = folder / name
        script.write_text(f"#!{sys.executable}\nfrom {module} import {function}\n{function}()\n")
        script.chmod(0o755)
    return folder


@pytest.fixture
def kubectl(api_server: ApiServer, executables: Path) -> Iterator[Kubectl]:
    """Run kubectl with the plug-in in its path; the API server has none of our objects before."""
    path = f"{executables}{os.pathsep}{os.environ['PATH']}"

    def run(*arguments: object, **more: Any) -> "subprocess.CompletedProcess[str]":
        environment = {"PATH": path, **more.pop("environment", {})}
        return api_server.kubectl(*arguments, check=False, environment=environment, **more)

    yield run
    api_server.kubectl("delete", "--all", "--wait=false", "edgeclouds,cordons,servicetypes")


def test_kubectl_finds_the_plugin(kubectl: Kubectl, executables: Path) -> None:
    listed = kubectl("plugin", "list")

    assert f"{executables}/kubectl-scopeway" in listed.stdout.splitlines()
    assert kubectl("scopeway", "--version").stdout.startswith("kubectl scopeway, version ")
    assert kubectl("scopeway", "cloud", "--help").stdout.startswith("Usage: kubectl scopeway cloud")


def test_kubectl_completes_the_words_of_the_plugin(kubectl: Kubectl) -> None:
    words = kubectl("__complete", "scopeway", "cloud", "co").stdout.splitlines()
    first = kubectl("__complete", "scop").stdout.splitlines()

    assert words[0].startswith("cordon\t")
    assert words[1:] == [":4"]
    assert [line.partition("\t")[0] for line in first][:1] == ["scopeway"]


def test_clouds_are_put_listed_cordoned_and_explained_in_the_cluster_of_the_kubeconfig(
    kubectl: Kubectl, api_server: ApiServer
) -> None:
    clouds = document("cloud-1"), document("cloud-2", accept=[{"clouds": ["cloud-1"]}])
    text = "\n---\n".join(map(json.dumps, clouds))
    put = kubectl("scopeway", "cloud", "put", "-", text=text)
    listed = kubectl("scopeway", "cloud", "list", "--format", "json")
    explain = ("scopeway", "explain", "--from", "cloud-1", "--scope", "{glance:cloud-2}", "image")
    served = kubectl(*explain)
    cordon = kubectl("scopeway", "cloud", "cordon", "cloud-2", "--reason", "new disks")
    refused = kubectl(*explain)
    missing = kubectl("scopeway", "cloud", "get", "cloud-7")

    assert (put.stdout, put.stderr) == ("cloud-1 registered\ncloud-2 registered\n", "")
    assert json.loads(listed.stdout) == list(clouds)
    stored = api_server.get("ec", "cloud-2", "--show-managed-fields")["metadata"]
    assert [each["manager"] for each in stored["managedFields"]] == ["scopeway-cli"]
    assert (served.returncode, refused.returncode, missing.returncode) == (0, 3, 1)
    assert cordon.stdout == "cloud-2 cordoned\n"
    assert "cloud-2 is cordoned: new disks" in refused.stdout
    assert missing.stderr == "kubectl scopeway: no cloud is named cloud-7\n"


def test_what_kubectl_applies_the_plugin_reads_and_the_other_way_round(
    kubectl: Kubectl, api_server: ApiServer
) -> None:
    api_server.apply(document("cloud-1"), {**HEAD, "kind": "Cordon", "spec": {"reason": "x"}})
    shown = kubectl("scopeway", "cloud", "get", "cloud-1", "--format", "json")
    kubectl("scopeway", "cloud", "uncordon", "cloud-1")

    assert json.loads(shown.stdout) == document("cloud-1")
    assert shown.stderr == "cordoned: cloud-1: x\n"
    assert api_server.get("cordons")["items"] == []


HEAD = {"apiVersion": "scopeway.io/v1alpha1", "metadata": {"name": "cloud-1"}}


def test_context_and_kubeconfig_choose_the_login(
    kubectl: Kubectl, api_server: ApiServer, tmp_path: Path
) -> None:
    """Also a context whose name has characters of URLs."""
    config = json.loads(api_server.kubeconfig.read_text())
    (context,) = config["contexts"]
    nobody = api_server.kubeconfig_of("nobody")
    strange = "arn:aws:eks:eu-1:1:cluster/a?b&c=d+e%20f"
    config["contexts"].append({**context, "name": strange})
    config["contexts"][0]["context"] = {"cluster": "tests", "user": "missing"}
    file = tmp_path / "config"
    file.write_text(json.dumps(config))
    command = ("scopeway", "cloud", "list", "--format", "json")

    assert kubectl(*command, kubeconfig=nobody).returncode == 1
    assert kubectl(*command, "--kubeconfig", api_server.kubeconfig, kubeconfig=nobody).stdout
    assert kubectl(*command, kubeconfig=file).returncode == 1
    assert kubectl(*command, "--context", strange, kubeconfig=file).stdout == "[]\n"
    assert kubectl(*command, "--kubeconfig", file, "--context", strange).stdout == "[]\n"


def test_several_kubeconfigs_are_read_as_kubectl_reads_them(
    kubectl: Kubectl, api_server: ApiServer, tmp_path: Path
) -> None:
    """The first has the contexts, with a name for the user that only the second has."""
    config = json.loads(api_server.kubeconfig.read_text())
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text(json.dumps({**config, "users": []}))
    second.write_text(json.dumps({**config, "clusters": [], "contexts": []}))
    files = {"KUBECONFIG": f"{tmp_path}/missing:{first}:{second}"}

    assert kubectl("get", "edgeclouds", "-o", "name", environment=files).returncode == 0
    listed = kubectl("scopeway", "cloud", "list", "--format", "json", environment=files)
    assert (listed.stdout, listed.stderr) == ("[]\n", "")


def test_variables_of_other_registries_do_not_count(kubectl: Kubectl) -> None:
    elsewhere = {"SCOPEWAY_REGISTRY": "etcd://127.0.0.1:1"}
    listed = kubectl("scopeway", "cloud", "list", "--format", "json", environment=elsewhere)

    assert (listed.returncode, listed.stdout) == (0, "[]\n")


def test_status_says_that_no_control_plane_runs(kubectl: Kubectl) -> None:
    status = kubectl("scopeway", "status")

    assert (status.returncode, status.stdout) == (1, "")
    assert status.stderr == (
        "kubectl scopeway: no pod with the labels app.kubernetes.io/name=scopeway,"
        "app.kubernetes.io/component=control-plane runs there (--namespace, --selector)\n"
    )
