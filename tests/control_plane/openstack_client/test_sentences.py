"""What people read about the clouds of a fan-out."""

import pytest

from scopeway.control_plane.openstack_client import sentences
from scopeway.control_plane.openstack_client.report import CloudResult, Report

B = CloudResult("b", 503, "unreachable", "image@b cannot be reached: connection refused")
C = CloudResult("c", 0, "timeout", "no answer after 10 s")


def test_the_clouds_that_did_not_answer_are_named_with_the_reason() -> None:
    assert sentences.not_answered(Report(40, 2, (B, C))) == (
        "2 of 40 clouds did not answer: b (503: connection refused), c (timeout)"
    )


@pytest.mark.parametrize(
    ("result", "why"),
    [
        (CloudResult("d", 404, "unknown"), "404: unknown"),
        (CloudResult("d", 403, "policy", "cloud d does not accept cloud-1"), None),
        (CloudResult("d", 0, "", ""), "no reason given"),
    ],
)
def test_the_reason_is_the_clouds_own_or_the_cause(result: CloudResult, why: str | None) -> None:
    why = why or "403: cloud d does not accept cloud-1"

    assert (
        sentences.not_answered(Report(2, 1, (result,)))
        == f"1 of 2 clouds did not answer: d ({why})"
    )


def test_only_ten_clouds_are_named_and_the_others_counted() -> None:
    failed = tuple(CloudResult(f"e{n}", 500) for n in range(100))

    found = sentences.not_answered(Report(1001, 100, failed))

    assert found.startswith("100 of 1001 clouds did not answer: e0 (500), e1 (500), ")
    assert found.endswith("e9 (500), and 90 more")


def test_a_report_without_names_is_a_count() -> None:
    assert sentences.not_answered(Report(1001, 100)) == "100 of 1001 clouds did not answer"
    assert sentences.not_answered(Report(1001)) == ""


def test_texts_of_clouds_cannot_write_to_the_terminal_nor_fill_it() -> None:
    hostile = CloudResult("\x1b[2Jb\n", 500, "", "x\r\u202e\x9b" + "y" * 5000)

    found = sentences.not_answered(Report(1, 1, (hostile,)))

    assert found.isprintable()
    assert "\\x1b[2Jb\\n (500: x\\r\\u202e\\x9byyy" in found
    assert len(found) < 300


def done_in_part(method: str = "POST", path: str = "/image/v2/images", **scope: str) -> str:
    results = (CloudResult("a", 201, id="4f-1"), CloudResult("b", 201, id="4f-1"), B_FAILED)
    text = ";".join(f"{key}:{value}" for key, value in scope.items())
    return sentences.done_in_part(method, path, text, Report(3, results=results))


B_FAILED = CloudResult("c", 503, "unreachable", "image@c cannot be reached: connection refused")


def test_a_write_done_in_part_says_what_was_done_where_and_what_to_repeat() -> None:
    assert done_in_part(identity="cloud-1", image="a&b&c") == (
        "  a: done (201), id 4f-1\n"
        "  b: done (201), id 4f-1\n"
        "  c: not done (503: connection refused)\n"
        'repeat it at c only: --scope "identity:cloud-1;image:c" --id 4f-1'
    )


def test_the_id_is_repeated_only_where_the_service_takes_one() -> None:
    assert done_in_part(path="/volume/v3/volumes", volume="a&b&c").endswith(
        '\nrepeat it at c only: --scope "volume:c"'
    )
    assert done_in_part(path="/image/v2/images/4f-1/import", image="a&b&c").endswith('"image:c"')
    assert done_in_part("PUT", "/v1/account/images", image="a&b&c").endswith('"image:c"')


def test_no_scope_is_proposed_if_two_bindings_name_several_clouds() -> None:
    assert done_in_part(image="a&b&c", network="a&b").endswith("\nrepeat it at c only")


def test_a_cloud_that_may_have_done_it_is_to_be_looked_at_first() -> None:
    results = (CloudResult("a", 202), CloudResult("b", 504, "error", "gateway timeout"))

    found = sentences.done_in_part(
        "POST", "/v2.1/servers", "compute:a&b", Report(2, results=results)
    )

    assert found.endswith(
        'first see whether it was done at b; then repeat it at b only: --scope "compute:b"'
    )


def test_the_collector_knows_best_whether_a_write_was_done() -> None:
    results = (
        CloudResult("a", 409, id="4f", done="yes"),
        CloudResult("b", 0, done="no", reason="refused"),
        CloudResult("c", 201, done="perhaps", reason="broke off"),
    )

    assert sentences.done_in_part("POST", "/images", "image:a&b&c", Report(3, results=results)) == (
        "  a: done (409), id 4f\n"
        "  b: not done (refused)\n"
        "  c: perhaps done (201: broke off)\n"
        "first see whether it was done at c; then repeat it at b, c only:"
        ' --scope "image:b&c" --id 4f'
    )


def test_a_deletion_of_what_a_cloud_does_not_have_is_done() -> None:
    results = (CloudResult("a", 204), CloudResult("b", 404), CloudResult("c", 409, reason="in use"))

    assert sentences.done_in_part("DELETE", "/x", "image:a&b&c", Report(3, results=results)) == (
        "  a: done (204)\n"
        "  b: done (404)\n"
        "  c: not done (409: in use)\n"
        'repeat it at c only: --scope "image:c"'
    )


def test_nothing_hostile_gets_into_the_command_that_is_proposed() -> None:
    results = (
        CloudResult("a", 201, id="4f; rm -rf ~"),
        CloudResult('b"; reboot; "', 503, "unreachable"),
    )
    scope = "image:a&b"

    assert "--scope" not in sentences.done_in_part(
        "POST", "/images", scope, Report(2, results=results)
    )
    results = (results[0], CloudResult("b", 503, "unreachable"))
    assert "--id" not in sentences.done_in_part(
        "POST", "/images", scope, Report(2, results=results)
    )


def test_a_write_that_no_cloud_did_has_nothing_to_repeat() -> None:
    results = (CloudResult("a", 503), CloudResult("b", 503))

    assert "repeat" not in sentences.done_in_part(
        "POST", "/x", "image:a&b", Report(2, results=results)
    )


def test_different_ids_of_one_write_are_told() -> None:
    results = (CloudResult("a", 202, id="1"), CloudResult("b", 202, id="2"))

    assert sentences.done_with_other_ids("POST", Report(2, results=results)) == (
        "POST was done at a (id 1), b (id 2)"
    )
    same = (results[0], CloudResult("b", 202, id="1"))
    assert sentences.done_with_other_ids("POST", Report(2, results=same)) == ""


def test_a_message_keeps_its_lines_and_nothing_that_controls_a_terminal() -> None:
    assert sentences.message("one\ntwo\x1b[2J") == "one\ntwo\\x1b[2J"
    assert len(sentences.message("x" * 9999)) == 2000
