"""The schema of Cordon: the structure that `clouds.cordon` reads (docs/clouds.md)."""

from scopeway.control_plane.clouds import fields
from scopeway.control_plane.clouds.cordon import MAX_REASON
from scopeway.control_plane.custom_resources import values
from scopeway.control_plane.custom_resources.schema import Schema, fields_of

DESCRIPTION = (
    "Cordon keeps other clouds from using the cloud of the same name, until the Cordon is deleted. "
    "The cloud itself goes on, and so does its EdgeCloud, which the site may write again at any "
    "time. The cloud need not be registered."
)


def spec() -> Schema:
    """Return the schema of `spec`."""
    return fields_of(
        fields.CORDON_SPEC,
        "Why the cloud is cordoned.",
        {
            "reason": values.line(
                "One line for users: they read it in the answer to each request that names the "
                "cloud. Default: none.",
                MAX_REASON,
            )
        },
    )
