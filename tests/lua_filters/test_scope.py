"""The lexical form in Lua: the vectors of Python, and equality with Python for any text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scopeway.control_plane.scope import (
    SERVICE_TYPES,
    ScopeError,
    any_service_type,
    complete_scope,
    lexical_form,
)

VECTORS = Path(__file__).parents[1] / "vectors" / "scope" / "lexical.json"
CASES: list[dict[str, Any]] = json.loads(VECTORS.read_text())["cases"]

PIECES = st.sampled_from(
    [*"{}[]():;,|&^%*=\"' \t-_.aZ9", "||", "local", "glance", "image", "keystone:", "cloud-1"]
)
TEXTS = st.lists(PIECES, max_size=25).map("".join)


def why(case: dict[str, Any]) -> str:
    return str(case["why"])


def as_bytes(case: dict[str, Any]) -> bytes:
    return bytes.fromhex(case["text_hex"]) if "text_hex" in case else case["text"].encode()


class Lua:
    """The functions of scope.lua, as those of control_plane.scope are called; None is a refusal."""

    def __init__(self, scope: Any) -> None:
        self._scope = scope

    def lexical(self, text: bytes) -> str | None:
        bindings = self._scope.bindings(text.decode("latin-1"))
        return None if isinstance(bindings, tuple) else self._scope.lexical(bindings)

    def complete(
        self, text: bytes, origin: str, *, carried: bool = False
    ) -> tuple[str, dict[str, str]] | None:
        bindings, completed = self._scope.complete(text.decode("latin-1"), origin, carried)
        return None if bindings is None else (completed, dict(bindings.items()))

    def reason(self, text: bytes) -> str:
        refused = self._scope.bindings(text.decode("latin-1"))
        return str(refused[1])


@pytest.fixture(scope="module")
def lua(new_modules: Any) -> Lua:
    return Lua(new_modules()["scope"])


@pytest.mark.parametrize("case", [case for case in CASES if not case.get("error")], ids=why)
def test_the_lexical_form_in_lua_of_an_accepted_vector_is_as_expected(
    lua: Lua, case: dict[str, Any]
) -> None:
    assert lua.lexical(as_bytes(case)) == case["lexical"]

    done = lua.complete(as_bytes(case), case["origin"])
    if case["completed"] is None:
        assert done is None
        return
    assert done is not None
    completed, bindings = done
    assert completed == case["completed"]
    for service, expression in case["bindings"].items():
        assert bindings.get(service, bindings["*"]) == expression


@pytest.mark.parametrize("case", [case for case in CASES if case.get("error")], ids=why)
def test_a_refused_vector_is_refused_by_lua(lua: Lua, case: dict[str, Any]) -> None:
    assert lua.lexical(as_bytes(case)) is None
    assert lua.reason(as_bytes(case))


def test_lua_accepts_one_binding_for_each_service(lua: Lua) -> None:
    most = ";".join(f"{service}:a" for service in ("*", *sorted(SERVICE_TYPES)))
    assert lua.lexical(most.encode()) == most

    for service in ("*", "glance"):
        assert "is bound twice" in lua.reason(f"{most};{service}:a".encode())


def test_the_bytes_of_a_scope_are_limited_in_lua(lua: Lua) -> None:
    longest = b"glance:a".ljust(2048)
    assert lua.lexical(longest) == "image:a"

    assert lua.reason(longest + b" ") == "a scope has at most 2048 bytes, this one has 2049"


@pytest.mark.parametrize(
    ("text", "completed"),
    [
        ("*:cloud-1;sensor:cloud-2", "*:cloud-1;sensor:cloud-2"),
        ("sensor:local;glance:cloud-2", "*:cloud-1;image:cloud-2;sensor:cloud-1"),
        (f"{'s' * 40}:a", f"*:cloud-1;{'s' * 40}:a"),
        (f"{'s' * 41}:a", None),
        ("sens_or:a", None),
        ("-sensor:a", None),
        ("sensor-:a", None),
        ("sensor:a;sensor:b", None),
        ("sensor:a&b;identity:cloud-2", "*:cloud-1;identity:cloud-2;sensor:a&b"),
    ],
)
def test_a_scope_in_a_token_keeps_services_that_this_site_does_not_know(
    lua: Lua, text: str, completed: str | None
) -> None:
    done = lua.complete(text.encode(), "cloud-1", carried=True)
    mine = in_python(complete_scope, text, "cloud-1", any_service_type())

    assert (done and done[0]) == completed
    assert (None if isinstance(mine, ScopeError) else mine.text) == completed
    assert lua.lexical(text.encode()) is None


def in_python(function: Callable[..., str], *args: Any) -> str | ScopeError:
    try:
        return function(*args)
    except ScopeError as refused:
        return refused


@given(text=TEXTS.map(str.encode) | st.binary(max_size=12))
@example(text=b"glance:local|[local=local]|locals|(local)")
@example(text=b"glance:" + b"a" * 2041)
@example(text=b"glance:" + b"a" * 2042)
@example(text=b"")
def test_lua_and_python_agree_about_any_scope(lua: Lua, text: bytes) -> None:
    lexical = in_python(lexical_form, text)
    if isinstance(lexical, ScopeError):
        assert lua.lexical(text) is None
        if lexical.column is not None and text.isascii():
            assert lua.reason(text).startswith(f"column {lexical.column}: ")
        return
    assert lua.lexical(text) == lexical

    completed = in_python(complete_scope, text, "cloud-1")
    done = lua.complete(text, "cloud-1")
    if isinstance(completed, ScopeError):
        assert done is None
        return
    assert done is not None
    assert done[0] == completed.text
    for service in ("image", "identity", "compute"):
        mine = done[1].get(service, done[1]["*"])
        assert mine == completed.expression_for(service)
