"""Answers to requests to upgrade, at a peer."""

from typing import Any

import pytest


@pytest.fixture(scope="module")
def upgrades(new_filter: Any) -> Any:
    return new_filter("upgrades")


@pytest.mark.parametrize("status", ["101", "304", "404", "503"])
def test_an_answer_to_an_upgrade_that_is_no_success_is_unchanged(
    upgrades: Any, status: str
) -> None:
    answer = upgrades.answer({":status": status, "a": "b"}, body="x")

    assert (answer.headers, answer.body) == ({":status": status, "a": "b"}, "x")
    assert not answer.body_was_read


@pytest.mark.parametrize("status", ["200", "201", "204"])
def test_a_success_other_than_101_to_an_upgrade_is_withheld(upgrades: Any, status: str) -> None:
    answer = upgrades.answer({":status": status, "set-cookie": "a"}, body="x")

    assert answer.headers == {":status": "502", "content-type": "application/json"}
    assert f"the service answered {status}" in answer.body


def test_an_error_in_the_upgrade_lua_withholds_the_answer(upgrades: Any) -> None:
    answer = upgrades.answer({":status": "200"}, fails_at=2)

    assert answer.headers[":status"] == "502"
    assert answer.log


def test_the_upgrade_lua_refuses_requests(upgrades: Any) -> None:
    assert upgrades.refusal("/image")[0] == 500
