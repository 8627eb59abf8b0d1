"""Why an API server does not accept an object, in one sentence."""

from typing import Any

import pytest

from scopeway.control_plane.kubernetes_api.errors import ApiError
from scopeway.control_plane.registry.kubernetes.refusals import refusal

POLICY = (
    'edgeclouds.scopeway.io "cloud-1" is forbidden: ValidatingAdmissionPolicy '
    "'scopeway-sites' with binding 'scopeway-sites' denied request: you are not\ncloud-1"
)
WEBHOOK = 'admission webhook "quota.example" denied the request: no more clouds'
CAUSES = [
    {"field": "spec.peer.port", "message": "Invalid value: 0: should be greater"},
    {"field": "<nil>", "message": "Invalid value: two labels are equal"},
]


@pytest.mark.parametrize(
    ("code", "status", "sentence"),
    [
        (422, {"message": POLICY}, "you are not cloud-1 (admission policy scopeway-sites)"),
        (403, {"message": POLICY}, "you are not cloud-1 (admission policy scopeway-sites)"),
        (400, {"message": WEBHOOK}, WEBHOOK),
        (403, {"message": WEBHOOK}, WEBHOOK),
        (
            422,
            {"message": "EdgeCloud is invalid", "details": {"causes": CAUSES}},
            "spec.peer.port: Invalid value: 0: should be greater; "
            "Invalid value: two labels are equal",
        ),
        (422, {"message": "EdgeCloud is invalid"}, "EdgeCloud is invalid"),
        (400, {"message": "strict decoding error"}, "strict decoding error"),
        (403, {"message": 'User "x" cannot patch resource "edgeclouds"'}, None),
        (404, {"message": "the server could not find the requested resource"}, None),
        (500, {}, None),
        (0, {}, None),
    ],
)
def test_what_is_wrong_with_the_object_is_told_and_nothing_else(
    code: int, status: dict[str, Any], sentence: str | None
) -> None:
    assert refusal(ApiError("answered", code=code, status=status)) == sentence


def test_a_long_or_hostile_text_is_cut_and_on_one_line() -> None:
    causes = [{"field": f"spec.{n}", "message": "\x1b[2Jx\n" * 500} for n in range(1000)]
    told = refusal(ApiError("answered", code=422, status={"details": {"causes": causes}}))

    assert told is not None
    assert told.endswith("; and 990 more")
    assert len(told) < 10 * 600
    assert told.isprintable()
