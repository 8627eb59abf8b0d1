"""The CustomResourceDefinitions of EdgeCloud, Cordon and ServiceType."""

from collections.abc import Sequence
from dataclasses import dataclass

from scopeway.control_plane.clouds import cordon as cordons
from scopeway.control_plane.clouds import fields, manifest
from scopeway.control_plane.clouds import service_type as service_types
from scopeway.control_plane.custom_resources import cordon, edge_cloud, service_type, values
from scopeway.control_plane.custom_resources.schema import Schema, SchemaMismatch
from scopeway.control_plane.custom_resources.status import (
    ACCEPTED,
    ENVOY_CONNECTED,
    RESOLVED_REFS,
    status,
)

GROUP, _, VERSION = manifest.API_VERSION.partition("/")
CATEGORY = "scopeway"
_ACCEPTED = (
    f"`{ACCEPTED}`: whether Scopeway uses the present version of the object; if not, its message "
    "has the problems, and the last good version stays in use."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of our objects."""

    kind: str
    plural: str
    short: str
    """A short name for kubectl; "" for none."""
    schema: Schema
    """The whole object."""
    columns: tuple[Schema, ...]
    """What `kubectl get` prints."""

    @property
    def spec(self) -> Schema:
        """The schema of `spec`."""
        found: Schema = self.schema["properties"]["spec"]
        return found


def resources() -> tuple[Resource, ...]:
    """Return all kinds."""
    return (
        Resource(
            kind=manifest.KIND,
            plural="edgeclouds",
            short="ec",
            schema=_whole(
                edge_cloud.DESCRIPTION,
                edge_cloud.spec(),
                [
                    _ACCEPTED,
                    f"`{ENVOY_CONNECTED}`: whether an Envoy of this site is connected to a control "
                    "plane.",
                    f"`{RESOLVED_REFS}`: whether all service types that it names are declared.",
                ],
                values.cloud_name_rules(),
            ),
            columns=(
                _condition_column(ACCEPTED),
                _condition_column(ENVOY_CONNECTED, name="Envoy"),
                _column("Region", ".metadata.labels.region", "The label region, as in scopes."),
                _column("Peer", ".spec.peer.address", "The address for other sites."),
                _condition_column(RESOLVED_REFS, name="Refs", wide=True),
                _column("Mode", ".spec.acceptMode", "Whether rules are enforced.", wide=True),
                *_why(),
                _age(),
            ),
        ),
        Resource(
            kind=cordons.KIND,
            plural="cordons",
            short="",
            schema=_whole(
                cordon.DESCRIPTION, cordon.spec(), [_ACCEPTED], values.cloud_name_rules()
            ),
            columns=(
                _condition_column(ACCEPTED),
                _column("Reason", ".spec.reason", "What users are told."),
                _message(),
                _age(),
            ),
        ),
        Resource(
            kind=service_types.KIND,
            plural="servicetypes",
            short="sty",
            schema=_whole(
                service_type.DESCRIPTION, service_type.spec(), [_ACCEPTED], service_type.rules()
            ),
            columns=(
                _condition_column(ACCEPTED),
                _column("Protocol", ".spec.protocol", "http or openstack."),
                _column("Aliases", ".spec.aliases", "Other words for the type."),
                *_why(),
                _age(),
            ),
        ),
    )


def definition(resource: Resource) -> Schema:
    """Return the CustomResourceDefinition of a kind."""
    names: Schema = {
        "kind": resource.kind,
        "listKind": f"{resource.kind}List",
        "plural": resource.plural,
        "singular": resource.kind.lower(),
        "categories": [CATEGORY],
    }
    if resource.short:
        names["shortNames"] = [resource.short]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": list(resource.columns),
        "schema": {"openAPIV3Schema": resource.schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{resource.plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }


def _whole(
    description: str, spec: Schema, conditions: Sequence[str], rules: Sequence[Schema]
) -> Schema:
    properties: Schema = {
        "apiVersion": {"description": f"Always {manifest.API_VERSION}.", "type": "string"},
        "kind": {"description": "The kind of the object.", "type": "string"},
        "metadata": {"type": "object"},
        "spec": {**spec, "nullable": True},
        "status": status(conditions),
    }
    if properties.keys() != fields.DOCUMENT | {"status"}:
        raise SchemaMismatch(f"{sorted(properties)} are not the fields of a document")
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": True,
        "x-kubernetes-validations": list(rules),
    }


def _column(
    name: str, path: str, description: str, *, kind: str = "string", wide: bool = False
) -> Schema:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return {**column, "priority": 1} if wide else column


def _condition_column(
    condition: str, *, name: str = "", field: str = "status", wide: bool = False
) -> Schema:
    path = f'.status.conditions[?(@.type=="{condition}")].{field}'
    text = f"The {field} of the condition {condition}."
    return _column(name or condition, path, text, wide=wide)


def _why() -> tuple[Schema, Schema]:
    return _condition_column(ACCEPTED, name="Reason", field="reason", wide=True), _message()


def _message() -> Schema:
    return _condition_column(ACCEPTED, name="Message", field="message", wide=True)


def _age() -> Schema:
    return _column("Age", ".metadata.creationTimestamp", "Since when it exists.", kind="date")
