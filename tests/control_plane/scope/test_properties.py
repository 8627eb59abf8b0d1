"""Properties of every text and every tree of the scope language."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scope_text import canonical
from scopeway.control_plane.scope import (
    Binding,
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
    Scope,
    ScopeError,
    complete_scope,
    lexical_form,
    parse_expression,
    parse_scope,
    parse_target,
)

SERVICES = ["*", "identity", "image", "compute", "network", "block-storage"]
WORDS = ["a", "B", "cloud-1", "local", "Local", "local-1", "glance", "image", "nova", "cloud_1"]
TOKENS = [*WORDS, *"{}[]():;,|&^%*=\"'", "||", " ", "\t"]

names = st.sampled_from(["a", "b", "cloud-1", "local-1", "42", "x" * 20])
labels = st.builds(
    lambda found, every: LabelSelector(tuple(sorted(found.items())), every=every),
    st.dictionaries(names, names, min_size=1, max_size=3),
    st.booleans(),
)
atoms: st.SearchStrategy[Expression] = st.one_of(names.map(CloudName), st.just(Local()), labels)


def operations(operands: st.SearchStrategy[Expression]) -> st.SearchStrategy[Expression]:
    return st.builds(flat, st.sampled_from("|^&%"), st.lists(operands, min_size=2, max_size=3))


def flat(operator: str, operands: list[Expression]) -> Operation:
    merged: list[Expression] = []
    for operand in operands:
        same = isinstance(operand, Operation) and operand.operator == operator
        merged.extend(operand.operands if same else [operand])  # type: ignore[union-attr]
    return Operation(operator, tuple(merged))


expressions = st.recursive(atoms, operations, max_leaves=10)
any_scopes = st.dictionaries(st.sampled_from(SERVICES), expressions, max_size=4).map(
    lambda found: Scope(tuple(Binding(service, found[service]) for service in sorted(found)))
)


def may_be(scope: Scope) -> bool:
    """Return whether the fan-outs of a scope are allowed beside each other."""
    texts = {b.service: canonical(b.expression).replace(" ", "") for b in scope.bindings}
    fanouts = {service: text for service, text in texts.items() if "&" in text or "^" in text}
    most = max((clouds_in(b.expression) for b in scope.bindings if b.service in fanouts), default=0)
    return (
        not fanouts.keys() & {"*", "identity"}
        and sum("&[" in text for text in fanouts.values()) < 2
        and (len(fanouts) < 2 or most <= 8)
    )


def clouds_in(expression: Expression) -> int:
    if isinstance(expression, Operation):
        return sum(map(clouds_in, expression.operands))
    return not isinstance(expression, LabelSelector)


scopes = any_scopes.filter(may_be)
token_soup = st.lists(st.sampled_from(TOKENS), max_size=30).map("".join)


@st.composite
def written(draw: st.DrawFn) -> str:
    """A scope as somebody might write it: mostly right, with blanks, quotes and other spellings."""
    text = canonical(draw(scopes))
    pieces = [draw(st.sampled_from(spellings(char))) for char in text]
    return "".join(pieces)


def spellings(char: str) -> list[str]:
    if char.isalpha():
        return [char, char, char, char.upper()]
    if char in "|":
        return ["|", "||"]
    if char in ";":
        return [";", ",", " ;\t"]
    if char in "()":
        return [char, f" {char} ", f"'{char}'"]
    if char == " ":
        return ["", " ", '"', "\t "]
    return [char, f" {char}" if char in "=[]:" else char]


@given(expressions)
def test_the_tree_form_of_an_expression_parses_to_the_same_expression(
    expression: Expression,
) -> None:
    assert parse_expression(canonical(expression)) == expression


@given(scopes)
def test_the_tree_form_of_a_scope_parses_to_the_same_scope(scope: Scope) -> None:
    assert parse_scope(canonical(scope)) == scope


@given(any_scopes)
def test_a_scope_is_refused_exactly_where_its_fanouts_may_not_be(scope: Scope) -> None:
    for read in (parse_scope, lexical_form):
        if may_be(scope):
            read(canonical(scope))
        else:
            with pytest.raises(ScopeError) as refusal:
                read(canonical(scope))
            assert canonical(scope)[(refusal.value.column or 0) - 1] in "&^"


@given(st.one_of(written(), token_soup, token_soup.map("image:{}".format)))
def test_the_lexical_form_of_a_valid_scope_parses_to_the_same_scope(text: str) -> None:
    try:
        scope = parse_scope(text)
    except ScopeError:
        return

    assert parse_scope(lexical_form(text)) == scope


@given(st.one_of(written(), token_soup, token_soup.map("image:{}".format)))
def test_lexical_form_and_completion_are_idempotent(text: str) -> None:
    try:
        lexical, completed = lexical_form(text), complete_scope(text, "cloud-1").text
    except ScopeError:
        return

    assert lexical_form(lexical) == lexical
    assert lexical_form(completed) == completed
    assert complete_scope(lexical, "cloud-1").text == completed
    assert complete_scope(completed, "another").text == completed
    assert not set(completed) & set(" \t\"'{}")


@given(scopes)
def test_a_completed_scope_binds_all_services_without_local(scope: Scope) -> None:
    completed = parse_scope(complete_scope(canonical(scope), "cloud-1").text)

    assert completed.bindings[0].service == "*"
    assert {b.service for b in completed.bindings} == {b.service for b in scope.bindings} | {"*"}
    assert not any(holds_local(b.expression) for b in completed.bindings)


def holds_local(expression: Expression) -> bool:
    if isinstance(expression, Operation):
        return any(holds_local(operand) for operand in expression.operands)
    return isinstance(expression, Local)


READERS: list[Callable[[str | bytes], object]] = [
    parse_scope,
    parse_expression,
    parse_target,
    lexical_form,
    lambda text: complete_scope(text, "cloud-1").text,
    lambda text: complete_scope(text, "cloud-1").expression_for("image"),
]


@pytest.mark.parametrize("read", READERS)
@given(
    text=st.one_of(st.text(), st.binary(), token_soup, written(), token_soup.map("image@{}".format))
)
def test_any_text_raises_no_error_but_scope_error(
    read: Callable[[str | bytes], object], text: str | bytes
) -> None:
    error = refusal(read, text)

    assert error is None or error.status == 400
    assert str(error).isascii()
    assert error is None or error.column is None or 1 <= error.column <= len(text) + 1


def refusal(read: Callable[[str | bytes], object], text: str | bytes) -> ScopeError | None:
    try:
        read(text)
    except ScopeError as error:
        return error
    return None


PLAIN = st.one_of(names, st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True))


@given(st.lists(PLAIN, min_size=1, max_size=32))
def test_plain_names_parse_the_same_as_in_parentheses(plain: list[str]) -> None:
    """Plain names bypass the parser, for speed."""
    text = "|".join(plain)

    assert parse_expression(text) == parse_expression(f"({text})")
