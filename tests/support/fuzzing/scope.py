"""The languages of scopes and of target names, in Python."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from fuzzing.steps import none_costs_more
from scope_text import canonical
from scopeway.control_plane.scope import (
    IDENTITY_VALIDATE,
    CloudName,
    Expression,
    Local,
    Operation,
    Scope,
    ScopeError,
    complete_scope,
    is_service_type,
    lexical_form,
    parse_expression,
    parse_scope,
    parse_target,
    target_name,
)
from scopeway.control_plane.scope.text import MAX_ATOMS, MAX_BYTES

ORIGIN = "cloud-1"
DICTIONARY = (
    *("{", "}", "[", "]", "(", ")", ":", ";", ",", "|", "||", "&", "^", "%", "*", "=", '"', "'"),
    *("local", "cloud-1", "image", "glance", "keystone:", "identity.validate@", "image@", "[a=b]"),
    *("&[a=b]", "a&b", "a ^ b", "nova:"),
    *("volumev3", "block-storage", "*:", "::", "\t", " ", ".", "-", "_", "LOCAL", "a|b"),
)


def seeds() -> Iterator[bytes]:
    vectors = Path(__file__).parents[2] / "vectors" / "scope"
    for case in json.loads((vectors / "lexical.json").read_text())["cases"]:
        yield bytes.fromhex(case["text_hex"]) if "text_hex" in case else case["text"].encode()
    yield from (b"image@cloud-2|cloud-3", b"identity.validate@cloud-2", b"image@(a^b)&[c=d]%local")
    yield from (b"image@a&b", b"image@&[a=b]&c", b"image@a & &", b"glance:a&b;nova:&[a=b]&local")


def check(data: bytes) -> None:
    scope = _taken(parse_scope, data)
    lexical = _taken(lexical_form, data)
    completed = _taken(lambda text: complete_scope(text, ORIGIN).text, data)
    if scope is not None:
        assert parse_scope(canonical(scope)) == scope
        assert all(_atoms(binding.expression) <= MAX_ATOMS for binding in scope.bindings)
        assert lexical is not None, "a scope without a lexical form"
    if lexical is not None:
        _lexical(lexical, scope)
    if completed is not None:
        _completed(completed, data, scope)
    _target(data)
    if data and crc32(data) % 64 == 0:
        _costs(data)


def _taken(read: Callable[[bytes], object], data: bytes) -> object:
    """What a reader makes of the bytes; None where it refuses them, with a place inside them."""
    try:
        return read(data)
    except ScopeError as refused:
        _refusal(refused, len(data.decode(errors="replace")))
        return None


def _refusal(refused: ScopeError, characters: int) -> None:
    text = str(refused)
    assert text.isascii(), text
    assert text.isprintable(), text
    assert len(text) <= 4 * MAX_BYTES
    assert refused.status == 400
    assert refused.column is None or 1 <= refused.column <= characters + 1, text


def _lexical(lexical: object, scope: object) -> None:
    assert isinstance(lexical, str)
    if len(lexical) <= MAX_BYTES:  # an alias may be shorter than the type that it stands for
        assert lexical_form(lexical) == lexical
        # nothing that only one of both takes may mean something
        assert scope == _taken(parse_scope, lexical.encode()) or scope is None


def _completed(completed: object, data: bytes, scope: object) -> None:
    """What leaves the origin: each service is at the clouds that the user wrote."""
    assert isinstance(completed, str)
    assert len(completed) <= MAX_BYTES
    assert complete_scope(completed, "another").text == completed
    read = _taken(parse_scope, completed.encode())
    assert scope is None or isinstance(read, Scope)
    written = {each.service: each.expression for each in scope.bindings} if scope else {}  # type: ignore[attr-defined]
    for service in ("image", "identity", "block-storage"):
        expression = complete_scope(data, ORIGIN).expression_for(service)
        if scope is not None:
            meant = written.get(service, written.get("*", Local()))
            assert parse_expression(expression) == _at_origin(meant)
        if read is None:
            continue
        target = parse_target(target_name(service, expression))
        assert target.service == service


def _at_origin(expression: Expression) -> Expression:
    match expression:
        case Local():
            return CloudName(ORIGIN)
        case Operation(operator, operands):
            return Operation(operator, tuple(map(_at_origin, operands)))
    return expression


def _target(data: bytes) -> None:
    try:
        target = parse_target(data)
    except ScopeError as refused:
        _refusal(refused, len(data.decode(errors="replace")))
        return
    assert is_service_type(target.service) or target.service == IDENTITY_VALIDATE
    assert _atoms(target.expression) <= MAX_ATOMS
    again = target_name(target.service, canonical(target.expression))
    assert parse_target(again) == target


def _atoms(expression: Expression) -> int:
    if isinstance(expression, Operation):
        assert len(expression.operands) > 1
        return sum(map(_atoms, expression.operands))
    return 1


def _costs(data: bytes) -> None:
    # a scope is parsed whole by its writer only, so by steps without a limit for one expression
    for read, most in ((parse_scope, 130), (lexical_form, 40), (parse_target, 40)):

        def refused_or_not(text: bytes, read: Callable[[bytes], object] = read) -> None:
            with suppress(ScopeError):
                read(text)

        none_costs_more(refused_or_not, data, MAX_BYTES, most)
