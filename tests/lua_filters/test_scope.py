"""The lexical form in Lua: the vectors of Python, and equality with Python for any text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scopeway.control_plane.scope import SERVICE_TYPES, ScopeError, complete_scope, lexical_form

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

    def complete(self, text: bytes, origin: str) -> tuple[str, dict[str, str]] | None:
        bindings, completed = self._scope.complete(text.decode("latin-1"), origin)
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
