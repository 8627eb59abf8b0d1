"""Rewriting of `Location`: the vectors, and the hook."""

import json
from pathlib import Path
from typing import Any

import pytest

VECTORS = Path(__file__).parents[1] / "vectors" / "links" / "location.json"
CASES = json.loads(VECTORS.read_text())["cases"]
HERE = "http\tfront\t/image\t10.0.0.1:9292"


@pytest.fixture(scope="module")
def links(new_filter: Any) -> Any:
    return new_filter("links")


@pytest.mark.parametrize("case", CASES, ids=[case["why"] for case in CASES])
def test_a_location_is_rewritten_as_the_vector_says(modules: Any, case: dict[str, str]) -> None:
    led_back = modules["links"].led_back(
        *(case["from"], case.get("scheme", "http"), case.get("host", "front")),
        *(case["prefix"], case.get("places", "")),
    )

    assert led_back == case.get("to", case["from"])


def test_the_hook_removes_what_the_route_has_added_to_the_location(links: Any) -> None:
    answer = links.answer({":status": "201", "location": f"{HERE}\thttp://10.0.0.1:9292/v2/1"})

    assert answer.headers == {":status": "201", "location": "http://front/image/v2/1"}
    assert not answer.body_was_read


def test_tabs_in_the_location_of_a_service_are_kept(links: Any) -> None:
    answer = links.answer({":status": "201", "location": f"{HERE}\ta\tb"})

    assert answer.headers["location"] == "a\tb"


def test_an_error_in_the_links_lua_removes_the_location(links: Any) -> None:
    answer = links.answer({":status": "201", "location": "http://10.0.0.1:9292/v2/1"})

    assert answer.headers == {":status": "201"}
    assert "links filter failed" in answer.log[0]


OURS = '{"error":{"code":403,"title":"Forbidden","message":"50 %25"}}'
REPLY = {
    ":status": "200",
    "content-type": "application/grpc",
    "grpc-status": "7",
    "grpc-message": OURS,
    "x-scopeway-rejected": "true",
}


class TestRepliesOfGrpc:
    """Envoy makes local replies of them where a request says that it is of gRPC."""

    def test_a_grpc_refusal_becomes_json_over_http_1(self, links: Any) -> None:
        answer = links.answer(REPLY)

        assert answer.headers == {
            ":status": "403",
            "content-type": "application/json",
            "x-scopeway-rejected": "true",
        }
        assert json.loads(answer.body)["error"]["message"] == "50 %"

    @pytest.mark.parametrize(
        "stream",
        [{"protocol": "HTTP/2"}, {"protocol": "HTTP/1.1", "address": "envoy://dispatch/a"}],
    )
    def test_a_grpc_refusal_stays_one_over_http_2_and_on_internal_connections(
        self, links: Any, stream: dict[str, str]
    ) -> None:
        answer = links.answer(REPLY, **stream)

        assert (answer.headers, answer.body) == (REPLY | {":status": "403"}, None)

    @pytest.mark.parametrize(
        ("grpc_status", "status"),
        [("7", "403"), ("12", "404"), ("13", "400"), ("14", "503"), ("16", "401"), ("2", "500")],
    )
    def test_a_grpc_refusal_without_a_message_gets_the_status_of_its_grpc_status(
        self, links: Any, grpc_status: str, status: str
    ) -> None:
        headers = {**REPLY, "grpc-status": grpc_status}
        del headers["grpc-message"]

        assert links.answer(headers).headers[":status"] == status

    @pytest.mark.parametrize(
        "changed",
        [
            {"x-scopeway-rejected": "false"},
            {"grpc-message": "no"},
            {"grpc-message": OURS.replace("403", "200")},
            {"content-type": "application/grpc+proto"},
        ],
    )
    def test_other_grpc_answers_are_unchanged(self, links: Any, changed: dict[str, str]) -> None:
        assert links.answer(REPLY | changed).headers == REPLY | changed
