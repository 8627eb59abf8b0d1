"""The document of a cordon."""

from typing import Any

import pytest

from scopeway.control_plane.clouds.cordon import Cordon, cordon_document, parse_cordon
from scopeway.control_plane.clouds.invalid import InvalidCloud

HEAD = {"apiVersion": "scopeway.io/v1alpha1", "kind": "Cordon"}
NAMED = {**HEAD, "metadata": {"name": "cloud-9"}}


@pytest.mark.parametrize("reason", ["", "its disks are being replaced", "größer", "x" * 256])
def test_a_cordon_document_reads_back_as_the_same_cordon(reason: str) -> None:
    cordon = Cordon(name="cloud-9", reason=reason)

    assert parse_cordon(cordon_document(cordon), "here") == cordon


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (HEAD, "here: metadata.name: null is not text"),
        ({**NAMED, "metadata": ["cloud-9"]}, 'here: metadata: ["cloud-9"] is not an object'),
        ({**NAMED, "metadata": {"name": "Cloud 9"}}, 'metadata.name: "Cloud 9" is not a name'),
        ({**NAMED, "apiVersion": "v1"}, "apiVersion: \"v1\" is not 'scopeway.io/v1alpha1'"),
        ({**NAMED, "spec": {"reson": "x"}}, 'spec: "reson" is not a field here; did you mean'),
        ({**NAMED, "spec": {"reason": 7}}, "spec.reason: 7 is not text; put it into quotes"),
        ({**NAMED, "spec": {"reason": "a\nb"}}, 'spec.reason: "a\\nb" is not one line'),
        ({**NAMED, "spec": {"reason": "x" * 257}}, "is longer than 256 characters"),
        ({**NAMED, "status": {}}, 'here: "status" is not a field here'),
    ],
)
def test_a_bad_cordon_document_is_refused_with_the_field_and_the_value(
    document: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidCloud) as refused:
        parse_cordon(document, "here")

    assert words in str(refused.value)
