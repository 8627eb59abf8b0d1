"""The schema of `status`, which the control plane writes."""

from collections.abc import Sequence

from scopeway.control_plane.custom_resources.schema import Schema

ACCEPTED = "Accepted"
ENVOY_CONNECTED = "EnvoyConnected"
RESOLVED_REFS = "ResolvedRefs"

_TYPE = (
    r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?"
    r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$"
)
_REASON = r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"


def status(conditions: Sequence[str]) -> Schema:
    """Return the schema of `status`; `conditions` say what each condition means."""
    return {
        "description": "What Scopeway has made of this object. The control plane writes it.",
        "type": "object",
        "properties": {
            "conditions": {
                "description": " ".join(("The present state.", *conditions)),
                "type": "array",
                "maxItems": 16,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": _condition(),
            },
        },
    }


def _condition() -> Schema:
    """Return the schema of a condition, as metav1.Condition has it."""
    return {
        "description": "One aspect of the state.",
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {
                "description": "The name of the condition, such as Accepted.",
                "type": "string",
                "maxLength": 316,
                "pattern": _TYPE,
            },
            "status": {
                "description": "True, False or Unknown.",
                "type": "string",
                "enum": ["True", "False", "Unknown"],
            },
            "observedGeneration": {
                "description": "The metadata.generation that the condition is about. If it is "
                "smaller than that of the object, the condition is out of date.",
                "type": "integer",
                "format": "int64",
                "minimum": 0,
            },
            "lastTransitionTime": {
                "description": "When `status` changed last.",
                "type": "string",
                "format": "date-time",
            },
            "reason": {
                "description": "The cause of the status in one word, for programs.",
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": _REASON,
            },
            "message": {
                "description": "The cause of the status in a sentence, for people.",
                "type": "string",
                "maxLength": 32768,
            },
        },
    }
