"""Where a `Location` leads: the vectors, and the hook."""

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
def test_location(modules: Any, case: dict[str, str]) -> None:
    led_back = modules["links"].led_back(
        *(case["from"], case.get("scheme", "http"), case.get("host", "front")),
        *(case["prefix"], case.get("places", "")),
    )

    assert led_back == case.get("to", case["from"])


def test_the_hook_takes_off_what_the_route_has_put_there(links: Any) -> None:
    answer = links.answer({":status": "201", "location": f"{HERE}\thttp://10.0.0.1:9292/v2/1"})

    assert answer.headers == {":status": "201", "location": "http://front/image/v2/1"}
    assert not answer.body_was_read


def test_tabs_in_a_location_are_the_services(links: Any) -> None:
    answer = links.answer({":status": "201", "location": f"{HERE}\ta\tb"})

    assert answer.headers["location"] == "a\tb"


def test_after_an_error_there_is_no_location(links: Any) -> None:
    answer = links.answer({":status": "201", "location": "http://10.0.0.1:9292/v2/1"})

    assert answer.headers == {":status": "201"}
    assert "links filter failed" in answer.log[0]
