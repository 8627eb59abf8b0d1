"""A write is answered by what came of it everywhere; a partial one never looks like a success."""

import pytest

from scopeway.control_plane.collector.handlers.chosen_ids import ChosenId
from scopeway.control_plane.collector.handlers.write_results import (
    Outcome,
    WriteResult,
    id_in,
    outcome,
    report_document,
)
from scopeway.control_plane.collector.messages.request import FanoutRequest

MINE = ChosenId("42", by_client=True)
OURS = ChosenId("43", by_client=False)
REFUSED = "image@b cannot be reached: connection refused"


def write(method: str = "POST", service: str = "compute") -> FanoutRequest:
    return FanoutRequest(
        method=method,
        path="/v2.1/servers",
        query="",
        service=service,
        target=f"{service}@a&b&c",
        operator="&",
        members=("a", "b", "c"),
        missing=(),
    )


def results(*statuses: int, **fields: object) -> list[WriteResult]:
    return [
        WriteResult(cloud, status, **fields)  # type: ignore[arg-type]
        for cloud, status in zip("abc", statuses, strict=False)
    ]


def of(method: str, *statuses: int, chosen: ChosenId | None = None) -> Outcome:
    return outcome(write(method), results(*statuses), chosen)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_a_write_that_all_did_has_the_answer_of_the_first(method: str) -> None:
    assert of(method, 201, 202, 204) == Outcome(0, ("yes", "yes", "yes"))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413])
def test_a_write_that_all_refused_alike_has_that_answer(status: int) -> None:
    assert of("POST", status, status, status).answer == 0


def test_a_write_that_nobody_got_has_the_answer_of_the_first() -> None:
    found = outcome(write(), results(503, 503, unsent=True), None)
    assert found == Outcome(0, ("no", "no"))


def test_equal_errors_are_no_common_answer_where_it_may_have_been_done() -> None:
    found = of("POST", 503, 503)
    assert (found.answer, found.title) == (None, "Perhaps done")
    assert found.message == (
        "POST was done at no cloud, and may have been done at a (503), b (503); look first whether "
        'a, b did it, then repeat it only there: --scope "{compute: a & b}"'
    )


def test_a_status_without_a_reason_is_named_once() -> None:
    results = [WriteResult("a", 501, "HTTP 501"), WriteResult("b", 202, id="1")]
    message = outcome(write(), results, None).message
    assert message.startswith("POST was done at b, and may have been done at a (501); look first")


def test_a_partial_write_says_where_it_was_done_and_what_to_repeat() -> None:
    found = outcome(
        write(),
        [
            WriteResult("a", 202, id="1"),
            WriteResult("b", 503, REFUSED, unsent=True),
            WriteResult("c", 403, "no"),
        ],
        None,
    )
    assert (found.answer, found.title, found.done) == (None, "Done in part", ("yes", "no", "no"))
    assert found.message == (
        "POST was done at a, and failed at b: image@b cannot be reached: connection refused (503), "
        'c: no (403); repeat it only there: --scope "{compute: b & c}"'
    )


def test_different_refusals_are_not_called_done_in_part() -> None:
    found = of("POST", 400, 403)
    assert (found.answer, found.title) == (None, "Not done")
    assert found.message.startswith("POST was done at no cloud, and failed at a (400), b (403);")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
def test_an_idempotent_write_can_be_repeated_as_it_is(method: str) -> None:
    assert of(method, 204, 500).message.endswith("; you can repeat it as it is")


@pytest.mark.parametrize("chosen", [MINE, OURS], ids=["of the client", "of the collector"])
def test_a_write_with_a_chosen_id_is_repeated_with_that_id(chosen: ChosenId) -> None:
    message = of("POST", 201, 500, chosen=chosen).message
    assert f"repeat it with the id {chosen.id}: clouds that have it answer 409" in message


def test_a_conflict_counts_as_done_only_with_an_id_of_the_client() -> None:
    assert of("POST", 409, 201, chosen=MINE) == Outcome(1, ("yes", "yes"))
    assert of("POST", 409, 201, chosen=OURS).done == ("no", "yes")
    assert of("POST", 409, 201).done == ("no", "yes")
    assert of("PUT", 409, 201).answer is None
    assert of("POST", 409, 409, chosen=MINE) == Outcome(0, ("yes", "yes"))


def test_a_repeated_create_that_fails_again_knows_what_the_first_try_did() -> None:
    found = of("POST", 409, 403, chosen=MINE)
    assert found.title == "Done in part"
    assert "was done at a, and failed at b (403)" in found.message


def test_a_delete_of_what_is_not_there_counts_as_done() -> None:
    assert of("DELETE", 404, 204) == Outcome(1, ("yes", "yes"))
    assert of("DELETE", 404, 404) == Outcome(0, ("yes", "yes"))
    assert of("DELETE", 404, 403).title == "Done in part"


@pytest.mark.parametrize("method", ["PUT", "PATCH", "POST"])
def test_a_change_of_what_is_not_there_is_a_failure(method: str) -> None:
    assert of(method, 200, 404).done == ("yes", "no")


def test_no_answer_and_errors_of_a_service_may_have_been_done() -> None:
    assert of("PUT", 200, 0, 500).done == ("yes", "perhaps", "perhaps")


def test_a_redirect_is_no_success() -> None:
    assert of("POST", 201, 302).done == ("yes", "no")


def test_the_report_has_every_cloud() -> None:
    found = [
        WriteResult("a", 201, id="1", location="/x/1"),
        WriteResult("b", 503, REFUSED, unsent=True),
    ]
    assert report_document(found, ("yes", "no")) == {
        "asked": 2,
        "answered": 1,
        "results": [
            {
                "cloud": "a",
                "status": 201,
                "done": "yes",
                "id": "1",
                "location": "/x/1",
                "reason": None,
            },
            {
                "cloud": "b",
                "status": 503,
                "done": "no",
                "id": None,
                "location": None,
                "reason": REFUSED,
            },
        ],
    }


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"id": "1", "server": {"id": "2"}}', "1"),
        (b'{"server": {"id": "2", "links": []}}', "2"),
        (b'{"keypair": {"name": "k"}}', None),
        (b'{"a": {"id": "1"}, "b": {"id": "2"}}', None),
        (b'{"id": 5}', None),
        (b"", None),
        (b"<html>", None),
        (b"[]", None),
        (b'{"a":' * 100_000, None),
    ],
)
def test_the_id_of_a_new_resource_is_found(body: bytes, found: str | None) -> None:
    assert id_in(body) == found
