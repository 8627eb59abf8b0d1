"""Errors that a filter returns itself."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st


def test_an_error_has_the_form_of_openstack_errors(modules: Any) -> None:
    assert json.loads(modules["errors"].body(404, "no such service")) == {
        "error": {"code": 404, "title": "Not Found", "message": "no such service"}
    }


@pytest.fixture(scope="module")
def body(new_modules: Any) -> Any:
    return new_modules()["errors"].body


@given(message=st.text(st.characters(max_codepoint=255)))
def test_any_bytes_can_be_quoted_in_an_error(body: Any, message: str) -> None:
    text = body(400, message)

    assert text.isascii()
    assert json.loads(text)["error"]["message"] == message
