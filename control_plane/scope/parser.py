"""The parser of the scope language: a text becomes the values of `ast`.

Knows neither clouds nor targets. Invariant: for any input, it returns a value or raises ScopeError.
"""

import re
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

from scopeway.control_plane.scope.ast import (
    Binding,
    CloudName,
    Expression,
    LabelSelector,
    Local,
    Operation,
    Scope,
)
from scopeway.control_plane.scope.errors import ScopeError
from scopeway.control_plane.scope.lexical import lexical_form
from scopeway.control_plane.scope.services import ServiceTypes, built_in
from scopeway.control_plane.scope.syntax_errors import syntax_error
from scopeway.control_plane.scope.text import (
    BLANKS,
    MAX_ATOMS,
    MAX_DEPTH,
    MAX_PIECES,
    QUOTES,
    is_cloud_name,
    is_label_word,
    quoted,
    validated_text,
)

if TYPE_CHECKING:
    from lark import Lark, Token

_SCOPE_SIGNS = frozenset(":;{}")
_EXPRESSION_SIGNS = frozenset("|^&%[(")
_types: ContextVar[ServiceTypes] = ContextVar("_types")
"""The valid words for services of the parse under way; the parser itself is made once."""
_PIECE = re.compile(r"[a-z0-9._-]+|\|\|?|[^ \t]")


def parse_scope(text: str | bytes, types: ServiceTypes | None = None) -> Scope:
    """Parse the scope that a user writes.

    Args:
        text: As the user writes it.
        types: The valid words for services; None: the built-in ones.

    Raises:
        ScopeError: The text is not a scope.
    """
    source = validated_text(text)
    token = _types.set(types or built_in())
    try:
        scope = _parse(source, "scope")
    except ScopeError:
        if _is_bare_expression(source):
            _parse(source, "expression")  # its other mistakes come before the missing service
        raise
    finally:
        _types.reset(token)
    assert isinstance(scope, Scope)
    lexical_form(source, types)  # refuses fan-outs that must not be, with their column
    return scope


def parse_expression(text: str | bytes) -> Expression:
    """Parse an expression, the right side of a binding.

    Raises:
        ScopeError: The text is not an expression.
    """
    source = validated_text(text)
    # nearly all expressions are names joined by '|' or '&': a hundredth of the parser's time
    operator = "&" if "&" in source else "|"
    words = source.split(operator, MAX_ATOMS)
    if len(words) <= MAX_ATOMS and all(map(is_cloud_name, words)):
        clouds = tuple(map(CloudName, words))
        return Operation(operator, clouds) if len(clouds) > 1 else clouds[0]
    expression = _parse(source, "expression")
    assert not isinstance(expression, Scope)
    _check_atoms(expression)
    return expression


def _parse(text: str, start: str) -> Scope | Expression:
    from lark import UnexpectedToken  # here, because lark takes 50 ms at the start of each command

    _check_nesting(text)
    _check_pieces(text)
    try:
        # the callbacks below build the value; lark builds no tree
        return _parser().parse(text, start)  # type: ignore[return-value]
    except UnexpectedToken as error:
        at_end = error.token.type == "$END"
        position = len(text) if at_end else error.token.start_pos or 0
        accepted = _accepted_after(text[:position], start)
        raise syntax_error(text, position, str(error.token), accepted) from None


def _accepted_after(text: str, start: str) -> frozenset[str]:
    """Return the terminals that may follow a valid prefix.

    A second parser reads the prefix, because the first one has reduced at the wrong token and lost
    the alternatives.
    """
    parser = _parser().parse_interactive(text, start)
    parser.exhaust_lexer()
    return frozenset(parser.accepts())  # type: ignore[no-untyped-call]


def _is_bare_expression(text: str) -> bool:
    """Return whether the service seems to be missing: there are operators, but no binding."""
    return not _SCOPE_SIGNS.intersection(text) and not _EXPRESSION_SIGNS.isdisjoint(text)


@cache
def _parser() -> "Lark":
    from lark import Lark  # see _parse

    grammar = files("scopeway.control_plane.scope").joinpath("grammar.lark").read_text()
    return Lark(
        grammar,
        parser="lalr",
        lexer="basic",
        start=["scope", "expression"],
        transformer=_Builder(),
        maybe_placeholders=False,
    )


def _check_nesting(text: str) -> None:
    """Reject deep parentheses and nested quotes before the parser reads them."""
    depth = 0
    quote = ""
    for column, char in enumerate(text, 1):
        if char == "(":
            depth += 1
            if depth > MAX_DEPTH:
                raise ScopeError(f"more than {MAX_DEPTH} levels of parentheses", column=column)
        elif char == ")":
            depth -= 1
        elif char in QUOTES:
            if quote and quote != char:
                raise ScopeError(
                    f"the closing {quoted(quote)} is missing before {quoted(char)}", column=column
                )
            quote = "" if quote else char


def _check_pieces(text: str) -> None:
    """Reject expressions that would take long to parse: any client may send a target name."""
    pieces = 0
    brackets = False
    for piece in _PIECE.finditer(text):
        found = piece[0]
        if found in "[]":
            brackets = found == "["
        pieces += 1
        if found in ":;" or (found == "," and not brackets):
            pieces = 0
        if pieces > MAX_PIECES:
            raise ScopeError(
                f"more than {MAX_PIECES} words and signs in one expression",
                column=piece.start() + 1,
            )


def _check_atoms(expression: Expression) -> None:
    if _atoms(expression) > MAX_ATOMS:
        raise ScopeError(f"more than {MAX_ATOMS} clouds and labels in one expression")


def _atoms(expression: Expression) -> int:
    if isinstance(expression, Operation):
        return sum(_atoms(operand) for operand in expression.operands)
    return 1


class _Builder:
    """The callbacks of the grammar's rules, by their names."""

    def scope(self, bindings: list[tuple[Binding, int]]) -> Scope:
        by_service: dict[str, Binding] = {}
        for binding, column in bindings:
            if binding.service in by_service:
                raise ScopeError(f"the service {binding.service!r} is bound twice", column=column)
            by_service[binding.service] = binding
        return Scope(tuple(by_service[service] for service in sorted(by_service)))

    def binding(self, children: tuple[tuple[str, int], Expression]) -> tuple[Binding, int]:
        (service, column), expression = children
        _check_atoms(expression)
        return Binding(service, expression), column

    def service(self, children: "list[Token]") -> tuple[str, int]:
        word, column = _word(children[0])
        types = _types.get()
        service = "*" if word == "*" else types.official(word)
        if service is None:
            raise ScopeError(types.unknown(word), column=column)
        return service, column

    def cloud(self, children: "list[Token]") -> CloudName | Local:
        word, column = _word(children[0])
        if word == "local":
            return Local()
        if not is_cloud_name(word):
            raise ScopeError(
                f"{quoted(word)} is not a cloud name: letters, digits and '-', at most 63, "
                "a letter or digit at both ends",
                column=column,
            )
        return CloudName(word)

    def labels(self, children: list[tuple[str, str, int]]) -> LabelSelector:
        labels: dict[str, str] = {}
        for label, value, column in children:
            if label in labels:
                raise ScopeError(f"the label {quoted(label)} is given twice", column=column)
            labels[label] = value
        return LabelSelector(tuple(sorted(labels.items())))

    def every(self, children: list[LabelSelector]) -> LabelSelector:
        return LabelSelector(children[0].labels, every=True)

    def label(self, children: "list[Token]") -> tuple[str, str, int]:
        (label, column), (value, _) = (_label_word(token) for token in children)
        return label, value, column

    def or_(self, operands: list[Expression]) -> Operation:
        return _operation("|", operands)

    def xor(self, operands: list[Expression]) -> Operation:
        return _operation("^", operands)

    def and_(self, operands: list[Expression]) -> Operation:
        return _operation("&", operands)

    def cross(self, operands: list[Expression]) -> Operation:
        return _operation("%", operands)


def _word(token: "Token") -> tuple[str, int]:
    return token.strip(QUOTES + BLANKS), token.column or 0


def _label_word(token: "Token") -> tuple[str, int]:
    word, column = _word(token)
    if not is_label_word(word):
        raise ScopeError(
            f"{quoted(word)} is neither a label nor a value: letters, digits, '-', '_' and '.', "
            "at most 63, a letter or digit at both ends",
            column=column,
        )
    return word, column


def _operation(operator: str, operands: list[Expression]) -> Operation:
    flat: list[Expression] = []
    for operand in operands:
        if isinstance(operand, Operation) and operand.operator == operator:
            flat.extend(operand.operands)
        else:
            flat.append(operand)
    return Operation(operator, tuple(flat))
