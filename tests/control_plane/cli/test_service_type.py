"""`scopeway service-type`: all valid words, and declarations in a real etcd."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.stack import Etcd
from scopeway.control_plane.scope import ALIASES, SERVICE_TYPES

Command = Callable[..., Any]


def document(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name}
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": "ServiceType", "metadata": metadata}
    return {**head, "spec": spec}


@pytest.fixture
def registry(etcd: Etcd, request: pytest.FixtureRequest) -> str:
    """A part of the etcd that this test has for itself."""
    return f"{etcd.url}/{request.node.name}"


@pytest.fixture
def service_type(scopeway: Command, registry: str) -> Command:
    """Run `scopeway service-type COMMAND`."""

    def run(command: str, *arguments: object) -> Any:
        return scopeway("service-type", command, "--registry", registry, *arguments)

    return run


def declared(service_type: Command) -> dict[str, Any]:
    rows = json.loads(service_type("list", "--format", "json").out)
    return {row["name"]: row for row in rows if row["origin"] == "declared"}


def test_without_a_registry_the_list_has_every_built_in_word(
    scopeway: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCOPEWAY_REGISTRY", raising=False)
    rows = json.loads(scopeway("service-type", "list", "--format", "json").out)
    lines = scopeway("service-type", "list").out.splitlines()

    assert {row["name"] for row in rows} == SERVICE_TYPES
    assert {word: row["name"] for row in rows for word in row["aliases"]} == ALIASES
    assert {(row["protocol"], row["origin"]) for row in rows} == {("openstack", "built-in")}
    assert len(lines) == 1 + len(SERVICE_TYPES)
    (image,) = [line.split() for line in lines if line.startswith("image ")]
    assert image == ["image", "glance", "openstack", "built-in"]


@pytest.mark.etcd
def test_a_type_that_was_put_is_listed_changed_and_deleted(
    service_type: Command, write: Callable[..., Path]
) -> None:
    sensor = document("sensor", aliases=["probe", "gauge"], forward=["authorization"])
    put = service_type("put", write("a.yaml", sensor, document("lamp", protocol="openstack")))

    assert (put.status, put.out, put.err) == (0, "sensor declared\nlamp declared\n", "")
    assert declared(service_type) == {
        "lamp": {
            "name": "lamp",
            "aliases": [],
            "protocol": "openstack",
            "origin": "declared",
            "forward": [],
        },
        "sensor": {
            "name": "sensor",
            "aliases": ["gauge", "probe"],
            "protocol": "http",
            "origin": "declared",
            "forward": ["authorization"],
        },
    }
    rows = [line.split() for line in service_type("list").out.splitlines()]
    assert ["sensor", "gauge,", "probe", "http", "declared"] in rows
    assert ["lamp", "-", "openstack", "declared"] in rows

    service_type("put", write("b.yaml", document("sensor")))
    assert declared(service_type)["sensor"]["aliases"] == []
    deleted = service_type("delete", "sensor", "valve")
    assert (deleted.status, deleted.out) == (1, "sensor deleted\n")
    assert deleted.err == "scopeway: not declared: valve\n"
    assert set(declared(service_type)) == {"lamp"}


@pytest.mark.etcd
@pytest.mark.parametrize(
    ("documents", "sentence"),
    [
        ([document("image")], 'metadata.name: "image" is a built-in service type'),
        ([document("valve", forward=["host"])], 'spec.forward[0]: "host" never goes to another'),
        ([document("valve"), document("valve")], "valve is declared twice"),
        ([document("valve", aliases=["probe"])], "valve: spec.aliases[0]: 'probe' is an alias of"),
        ([document("probe")], "sensor: spec.aliases[0]: 'probe' is the name of another service"),
        (
            [{**document("valve"), "kind": "EdgeCloud"}],
            "is not a service type; use `scopeway cloud`",
        ),
        ([document(f"t-{n}") for n in range(64)], "there are more than 64 service types"),
        ([], "holds no service type"),
    ],
    ids=["built-in", "field", "twice", "alias", "name", "cloud", "limit", "nothing"],
)
def test_put_writes_nothing_if_one_type_is_bad_or_conflicts(
    service_type: Command,
    write: Callable[..., Path],
    documents: list[dict[str, Any]],
    sentence: str,
) -> None:
    service_type("put", write("a.yaml", document("sensor", aliases=["probe"])))

    put = service_type("put", write("good.yaml", document("good")), write("b.yaml", *documents))

    assert put.status == 1
    assert put.err.startswith("scopeway: nothing was written\n")
    assert sentence in put.err
    assert "left out" not in put.err
    assert set(declared(service_type)) == {"sensor"}


def test_a_folder_is_listed_with_what_is_wrong_and_is_not_written(
    scopeway: Command, write: Callable[..., Path]
) -> None:
    valve = document("valve", aliases=["probe"])
    folder = write("types/a.yaml", document("sensor", aliases=["probe"]), valve).parent
    listed = scopeway("service-type", "list", "--registry", f"dir:{folder}", "--format", "json")
    put = scopeway("service-type", "put", "--registry", f"dir:{folder}", folder / "a.yaml")

    assert listed.status == 0
    assert [row["name"] for row in json.loads(listed.out) if row["origin"] == "declared"] == [
        "sensor",
        "valve",
    ]
    assert "'probe' is an alias of the service type 'sensor'; it is left out" in listed.err
    assert put.status == 1
    assert "is changed by editing its files" in put.err
