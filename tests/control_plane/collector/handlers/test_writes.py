"""A write goes to every cloud once; its answer says exactly what came of it."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from collected import Cloud, FakeFanOut, FakeWriter, answer, fanout
from scopeway.control_plane.collector.handlers.writes import write
from scopeway.control_plane.collector.messages.request import FanoutRequest, Refused

IMAGES = "/v2/images"
REJECTED = {"x_scopeway_rejected": "true"}
NEWS = b'{"name": "cirros"}'


def run(
    request: FanoutRequest, clouds: Mapping[str, Cloud], **options: Any
) -> tuple[FakeWriter, FakeFanOut]:
    out, asked = FakeWriter(), FakeFanOut(request, clouds, **options)
    asyncio.run(write(request, asked, out))  # type: ignore[arg-type]
    return out, asked


def creates(location: str, body: bytes) -> Any:
    made = json.loads(body)
    return answer(201, {**made, "status": "queued"}, location=f"/v2/images/{made['id']}")


def refuses(status: int, message: str = "no", **headers: str) -> Cloud:
    return lambda location, body: answer(
        status, {"error": {"code": status, "message": message}}, **headers
    )


def never_reached(location: str, body: bytes) -> Any:
    error = {"error": {"message": "image@b cannot be reached: connection refused"}}
    return answer(503, error, x_scopeway_rejected="true", x_scopeway_unreachable="true")


def results(out: FakeWriter) -> list[tuple[str, int, str]]:
    return [
        (each["cloud"], each["status"], each["done"])
        for each in out.document["scopeway:report"]["results"]
    ]


def test_a_new_image_has_the_same_id_in_all_clouds() -> None:
    request = fanout("POST", IMAGES, "a&b", body=NEWS)
    out, asked = run(request, {"a": creates, "b": creates})
    assert out.status == 201
    ids = {json.loads(body)["id"] for _, _, body in asked.asked}
    assert ids == {out.document["id"]}
    assert len(asked.asked) == 2
    new = out.document["id"]
    report = out.headers[b"x-scopeway-report"].decode()
    assert report == f'a;status=201;id="{new}", b;status=201;id="{new}"'
    assert out.headers[b"location"].decode() == f"/v2/images/{new}"


def test_the_answer_is_that_of_the_first_member_whichever_comes_first() -> None:
    async def late(location: str, body: bytes) -> Any:
        await asyncio.sleep(0.01)
        return answer(202, {"server": {"id": "of a"}})

    request = fanout("POST", "/v2.1/servers", "a&b", service="compute", body=b"{}")
    out, _ = run(request, {"a": late, "b": lambda *_: answer(202, {"server": {"id": "of b"}})})
    assert out.document == {"server": {"id": "of a"}}
    assert out.headers[b"x-scopeway-report"] == b'a;status=202;id="of a", b;status=202;id="of b"'


def test_a_partial_write_is_a_500_with_the_result_of_every_cloud() -> None:
    request = fanout("POST", IMAGES, "a&b&c", body=NEWS)
    out, _ = run(request, {"a": creates, "b": never_reached, "c": refuses(403, "forbidden")})
    assert out.status == 500
    assert out.rejected
    error = out.document["error"]
    assert error["title"] == "Done in part"
    new = out.document["scopeway:report"]["results"][0]["id"]
    assert error["message"] == (
        "POST was done at a, and failed at b: image@b cannot be reached: connection refused (503), "
        f"c: forbidden (403); repeat it with the id {new}: clouds that have it answer 409, which "
        "then counts as done"
    )
    assert results(out) == [("a", 201, "yes"), ("b", 503, "no"), ("c", 403, "no")]
    assert out.document["scopeway:report"]["results"][0]["location"] == f"/v2/images/{new}"
    assert b"b;status=503;reason=" in out.headers[b"x-scopeway-report"]
    assert b"retry-after" not in out.headers


def test_a_repeat_with_the_id_completes_a_partial_write() -> None:
    body = b'{"name": "cirros", "id": "42"}'
    request = fanout("POST", IMAGES, "a&b", body=body)
    out, asked = run(request, {"a": refuses(409, "there is one"), "b": creates})
    assert (out.status, out.document["id"]) == (201, "42")
    assert [each[2] for each in asked.asked] == [body, body]
    assert b'a;status=409;reason="there is one", b;status=201' in out.headers[b"x-scopeway-report"]


def test_a_conflict_with_an_id_of_the_collector_is_a_failure() -> None:
    out, _ = run(fanout("POST", IMAGES, "a&b", body=NEWS), {"a": refuses(409), "b": creates})
    assert results(out) == [("a", 409, "no"), ("b", 201, "yes")]


def test_a_common_refusal_keeps_the_answer_of_the_first_cloud() -> None:
    request = fanout("POST", IMAGES, "a&b", body=b"{}")
    out, _ = run(request, {"a": refuses(400, "bad a"), "b": refuses(400, "bad b")})
    assert (out.status, out.document["error"]["message"]) == (400, "bad a")
    assert not out.rejected


def test_a_delete_counts_what_is_not_there_as_done() -> None:
    request = fanout("DELETE", f"{IMAGES}/42", "a&b")
    out, _ = run(request, {"a": refuses(404), "b": lambda *_: answer(204)})
    assert (out.status, out.body) == (204, b"")
    out, _ = run(request, {"a": refuses(404), "b": refuses(404)})
    assert out.status == 404


@pytest.mark.parametrize(
    ("missing", "status"),
    [
        ([("c", 404, "unknown")], 400),
        ([("c", 404, "no-service"), ("d", 404, "unknown")], 400),
        ([("c", 403, "policy")], 403),
        ([("c", 503, "cordoned")], 503),
        ([("c", 404, "unknown"), ("d", 403, "policy")], 400),
    ],
)
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_nothing_is_sent_where_a_cloud_cannot_be_asked(
    method: str, missing: list[tuple[str, int, str]], status: int
) -> None:
    request = fanout(method, IMAGES, "a&b", missing=missing, body=NEWS)
    out, asked = run(request, {"a": creates, "b": creates})
    assert asked.asked == []
    assert out.status == status
    assert out.document["error"]["message"].startswith("nothing was sent to any cloud: c: ")
    assert out.document["scopeway:report"]["failed"][0]["cause"] == missing[0][2]


def test_a_write_that_cannot_leave_the_site_was_sent_nowhere() -> None:
    def down(location: str, body: bytes) -> Any:
        return answer(503, cause="unreachable", reason="the site's own Envoy cannot be reached")

    out, _ = run(fanout("DELETE", f"{IMAGES}/42", "a&b"), {"a": down, "b": down})
    assert out.status == 503
    message = out.document["error"]["message"]
    assert message == "nothing was sent to any cloud: the site's own Envoy cannot be reached"


@pytest.mark.parametrize(
    ("message", "headers", "done"),
    [
        ("the control plane did not answer", {"x_scopeway_unsent": "true"}, "no"),
        ("image@b cannot be reached", {"x_scopeway_unreachable": "true"}, "no"),
        (
            "image@b cannot be reached, says a service",
            {"x_scopeway_unreachable": "false"},
            "perhaps",
        ),
        ("no answer from image@b; it may have been carried out, or not", REJECTED, "perhaps"),
    ],
)
def test_only_an_envoy_knows_that_a_request_was_not_sent(
    message: str, headers: dict[str, str], done: str
) -> None:
    request = fanout("PUT", f"{IMAGES}/42", "a&b")
    clouds = {"a": lambda *_: answer(200, {}), "b": refuses(503, message, **headers)}
    out, _ = run(request, clouds)
    assert results(out) == [("a", 200, "yes"), ("b", 503, done)]


def test_a_broken_off_answer_may_have_been_a_success() -> None:
    def broken(location: str, body: bytes) -> Any:
        return answer(502, cause="error", reason="it broke off its answer")

    request = fanout("POST", "/v2.1/servers", "a&b", service="compute", body=b"{}")
    out, _ = run(request, {"a": broken, "b": lambda *_: answer(202, {"server": {"id": "1"}})})
    assert results(out) == [("a", 502, "perhaps"), ("b", 202, "yes")]
    assert out.document["error"]["message"] == (
        "POST was done at b, and may have been done at a: it broke off its answer (502); look "
        'first whether a did it, then repeat it only there: --scope "{compute: a}"'
    )


def test_a_done_write_whose_answer_cannot_be_kept_says_that_it_was_done() -> None:
    request = fanout("PUT", f"{IMAGES}/42", "a&b")
    done: Cloud = lambda *_: answer(200, {"id": "x" * 100})  # noqa: E731
    out, _ = run(request, {"a": done, "b": done}, room=50)
    assert (out.status, out.document["error"]["title"]) == (500, "Done")
    assert results(out) == [("a", 200, "yes"), ("b", 200, "yes")]


def test_a_key_pair_that_would_differ_is_refused_before_anything_is_sent() -> None:
    body = b'{"keypair": {"name": "k"}}'
    request = fanout("POST", "/v2.1/os-keypairs", "a&b", service="compute", body=body)
    asked = FakeFanOut(request, {})
    with pytest.raises(Refused, match="send a public_key"):
        asyncio.run(write(request, asked, FakeWriter()))  # type: ignore[arg-type]
    assert asked.asked == []


def test_texts_of_clouds_are_bounded_and_harmless_in_the_header() -> None:
    nasty = 'x"\r\nset-cookie: a=b;' + "ü" * 1000
    request = fanout("DELETE", f"{IMAGES}/42", "a&b")
    out, _ = run(request, {"a": refuses(403, nasty), "b": lambda *_: answer(204)})
    header = out.headers[b"x-scopeway-report"]
    assert b"\r" not in header
    assert len(header) < 300
    assert len(out.document["error"]["message"]) < 600
