"""The report of a fan-out, from honest clouds and from hostile ones."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scopeway.control_plane.openstack_client.report import (
    MAX_BODY,
    MAX_CLOUDS,
    MAX_HEADER,
    CloudResult,
    Report,
    UnreadableReport,
    read_report,
)

READ = {
    "asked": 40,
    "answered": 39,
    "failed": [{"cloud": "b", "status": 503, "cause": "unreachable", "reason": "refused"}],
}
FAILED = CloudResult("b", 503, "unreachable", "refused")


def body(report: object, **more: object) -> bytes:
    return json.dumps({"images": [{"id": "1"}], **more, "scopeway:report": report}).encode()


def test_the_report_in_the_body_names_the_clouds_that_failed() -> None:
    found = read_report("asked=40", body(READ))

    assert found == Report(asked=40, failures=1, failed=(FAILED,))


def test_blanks_around_the_report_in_the_body_mean_nothing() -> None:
    text = b'{"images": [] ,\n "scopeway:report" :\n' + json.dumps(READ).encode() + b"\n} \n"

    assert read_report("asked=40", text).failed == (FAILED,)


def test_the_report_of_a_write_has_each_cloud() -> None:
    results = [
        {"cloud": "a", "status": 201, "id": "4f", "location": "/v2/images/4f"},
        {"cloud": "b", "status": 0, "done": "perhaps", "reason": "broke off", "id": None},
    ]

    assert read_report("a", body({"results": results})) == Report(
        asked=2,
        results=(
            CloudResult("a", 201, id="4f"),
            CloudResult("b", reason="broke off", done="perhaps"),
        ),
    )


def test_the_header_counts_the_clouds_of_a_read() -> None:
    assert read_report("asked=1001, answered=901, failed=100", b"") == Report(1001, 100)
    assert read_report("asked=1001", None) == Report(1001)


def test_the_header_names_the_clouds_that_failed_if_the_body_cannot() -> None:
    header = "asked=3, answered=1, failed=2, clouds=(b;status=503;cause=unreachable)"

    assert read_report(header, b"[]") == Report(3, 2, (CloudResult("b", 503, "unreachable"),))


def test_the_header_has_each_cloud_of_a_write_or_the_first_ones() -> None:
    assert read_report(
        'a;status=201;id="4f", "9b";status=503;reason="no", more;n=6', None
    ) == Report(
        asked=8,
        results=(CloudResult("a", 201, id="4f"), CloudResult("9b", 503, reason="no")),
    )


def test_a_cloud_may_be_called_more() -> None:
    assert read_report("more;status=201", None).results == (CloudResult("more", 201),)


@pytest.mark.parametrize(
    "forged",
    [
        '{"images": [{"scopeway:report": {"asked": 9}}]}',
        '{"images": [{"name": "x\\"scopeway:report\\": {}}"}]}',
        '{"name": "\\"scopeway:report\\": {\\"asked\\": 9}"}',
        '[{"scopeway:report": {"asked": 9}}]',
        '{"scopeway:report": ' + "[" * 100_000 + "]" * 100_000 + "}",
        '{"scopeway:report": ' + "9" * 100_000 + "}",
        '{"scopeway:report": 9}',
        '{"scopeway:report"}',
        '{"scopeway:report": {"asked": 9}',
        '{"scopeway:report": {"asked": 9}]',
    ],
)
def test_an_item_of_a_hostile_cloud_is_no_report(forged: str) -> None:
    assert read_report("asked=40, answered=39", forged.encode()) == Report(40, 1)


def test_a_report_that_is_too_long_is_not_parsed() -> None:
    assert read_report("asked=40, answered=39", body("x" * MAX_BODY)) == Report(40, 1)
    with pytest.raises(UnreadableReport, match="longer than"):
        read_report("asked=1" + " " * MAX_HEADER, None)


@pytest.mark.parametrize(
    "header", ["asked", "a;status=", "asked=1;", "{}", "\x1b[2J", "asked=1, clouds=(b"]
)
def test_a_header_of_an_unknown_form_is_reported(header: str) -> None:
    if header == "asked":  # a list of one cloud
        assert read_report(header, None).asked == 1
        return
    with pytest.raises(UnreadableReport):
        read_report(header, None)


def test_values_of_wrong_types_and_sizes_count_as_unknown() -> None:
    wrong = {
        "asked": 10**12,
        "answered": -5,
        "failed": [7, {"cloud": 7, "status": 99999, "reason": ["x"]}, {}],
        "results": "none",
    }

    assert read_report("asked=1", body(wrong)) == Report(
        MAX_CLOUDS, MAX_CLOUDS, (CloudResult(""), CloudResult(""))
    )
    assert read_report('asked="many", answered=?1', None) == Report(0)


def test_a_report_has_at_most_the_clouds_of_a_fanout() -> None:
    found = read_report("asked=1", body({"failed": [{"cloud": "a"}] * (MAX_CLOUDS + 1)}))

    assert len(found.failed) == MAX_CLOUDS


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["asked", "answered", "failed", "results", "cloud", "status", "id"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values, st.text(max_size=40))
def test_any_report_is_read_or_refused(value: object, header: str) -> None:
    try:
        found = read_report(header, body(value))
    except UnreadableReport:
        return
    assert 0 <= found.failures <= found.asked <= MAX_CLOUDS
