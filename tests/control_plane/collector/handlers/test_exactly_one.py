"""`a ^ b`: the resource of the only cloud that has it."""

import asyncio
from typing import Any

import pytest

from collected import FakeFanOut, FakeWriter, answer, fanout
from scopeway.control_plane.collector.handlers.exactly_one import exactly_one


def ask(clouds: dict[str, Any], method: str = "GET", **fields: Any) -> FakeWriter:
    request = fanout(method, "/v2/images/1", "^".join(clouds), **fields)
    out = FakeWriter()
    found = {name: (lambda *_, made=made: made) for name, made in clouds.items()}
    asyncio.run(exactly_one(request, FakeFanOut(request, found), out))  # type: ignore[arg-type]
    return out


def has(cloud: str) -> Any:
    return answer(200, {"id": "1", "of": cloud})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_the_only_cloud_that_has_it_answers(method: str) -> None:
    out = ask({"a": answer(404), "b": has("b"), "c": answer(404)}, method)
    assert (out.status, out.document) == (200, {"id": "1", "of": "b"})
    assert out.headers[b"x-scopeway-served-by"] == b"b"


def test_two_clouds_that_have_it_are_a_conflict() -> None:
    out = ask({"a": answer(404), "b": has("b"), "c": has("c")})
    assert out.status == 409
    assert out.document["error"]["message"] == "b and c both have it"


def test_nobody_has_it() -> None:
    out = ask({"a": answer(404, {"first": 1}), "b": answer(410)})
    assert out.status in (404, 410)
    assert b"answered=2" in out.headers[b"x-scopeway-report"]


def down() -> Any:
    return answer(503, {"error": {"message": "b is down"}}, x_scopeway_rejected="true")


@pytest.mark.parametrize("other", [200, 404])
def test_a_cloud_that_does_not_answer_leaves_it_unknown(other: int) -> None:
    out = ask({"a": answer(other, {"id": "1"}), "b": down()})
    assert out.status == 502
    has_it = "a has it, but " if other == 200 else ""
    assert out.document["error"]["message"] == (
        f"whether exactly one cloud has it is not known: {has_it}1 of 2 clouds failed: "
        "b (503 b is down)"
    )
    assert out.document["scopeway:report"]["failed"][0]["cloud"] == "b"


def test_a_cloud_that_cannot_be_asked_leaves_it_unknown() -> None:
    out = ask({"a": has("a")}, missing=[("b", 404, "unknown")])
    assert out.status == 502
    assert "b (404 no such cloud)" in out.document["error"]["message"]


def test_an_error_that_is_the_clients_fault_everywhere_keeps_its_status() -> None:
    forbidden = {"error": {"message": "no"}}
    assert ask({"a": answer(403, forbidden), "b": answer(403, forbidden)}).status == 403
    assert ask({"a": answer(403, forbidden), "b": answer(404)}).status == 502
    assert ask({"a": answer(403, forbidden), "b": answer(401)}).status == 502


def test_a_redirect_and_an_unchanged_resource_count_as_having_it() -> None:
    assert ask({"a": answer(304), "b": answer(404)}).status == 304
    assert ask({"a": answer(304), "b": has("b")}).status == 409
