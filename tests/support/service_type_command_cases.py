"""What `scopeway service-type` does over every registry that can be written.

A test module makes a class of these cases, and the fixture `registry`: a URL of an empty registry.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., Any]


def document(name: str, **spec: Any) -> dict[str, Any]:
    metadata = {"name": name}
    head = {"apiVersion": "scopeway.io/v1alpha1", "kind": "ServiceType", "metadata": metadata}
    return {**head, "spec": spec}


def declared(service_type: Command) -> dict[str, Any]:
    rows = json.loads(service_type("list", "--format", "json").out)
    return {row["name"]: row for row in rows if row["origin"] == "declared"}


class ServiceTypeCommandCases:
    """Listing, declaring and deleting service types."""

    @pytest.fixture
    def service_type(self, scopeway: Command, registry: str) -> Command:
        """Run `scopeway service-type COMMAND`."""

        def run(command: str, *arguments: object) -> Any:
            return scopeway("service-type", command, "--registry", registry, *arguments)

        return run

    def test_a_type_that_was_put_is_listed_changed_and_deleted(
        self, service_type: Command, write: Callable[..., Path]
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

    @pytest.mark.parametrize(
        ("documents", "sentence"),
        [
            ([document("image")], 'metadata.name: "image" is a built-in service type'),
            (
                [document("valve", forward=["host"])],
                'spec.forward[0]: "host" never goes to another',
            ),
            ([document("valve"), document("valve")], "valve is declared twice"),
            (
                [document("valve", aliases=["probe"])],
                "valve: spec.aliases[0]: 'probe' is an alias of",
            ),
            (
                [document("probe")],
                "sensor: spec.aliases[0]: 'probe' is the name of another service",
            ),
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
        self,
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
