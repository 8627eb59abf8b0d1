"""The lexical form of a scope, from text to text: the same form that the Lua filter makes.

The rules are in docs/scope.md, "The lexical form". This module does not know the grammar: the
planner parses what the lexical form accepts. Invariant: the vectors in tests/vectors/scope hold for
both implementations.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from scopeway.control_plane.scope.errors import ScopeError
from scopeway.control_plane.scope.services import ServiceTypes, built_in
from scopeway.control_plane.scope.text import (
    BLANKS,
    MAX_BYTES,
    MAX_NESTED_NAMES,
    NAME_CHARACTERS,
    QUOTES,
    quoted,
    validated_text,
)

_LABELS_OR_NAME = re.compile(r"\[[^\]]*\]|[a-z0-9._-]+")


def lexical_form(text: str | bytes, types: ServiceTypes | None = None) -> str:
    """Return the lexical form; it is its own lexical form.

    Args:
        text: As a user writes it.
        types: The valid words for services; None: the built-in ones.

    Raises:
        ScopeError: The text has no lexical form (docs/scope.md).
    """
    return _joined(_bindings(validated_text(text), types))


@dataclass(frozen=True, slots=True)
class CompletedScope:
    """A scope in lexical form, with a binding for `*` and the origin in place of `local`."""

    bindings: Mapping[str, str]
    """Official service type, or "*" for all others, to a lexical expression."""
    text: str
    """The lexical form; it is its own completion at every origin."""

    def expression_for(self, service: str) -> str:
        """Return the lexical expression that serves a service, given by its official type."""
        return self.bindings.get(service, self.bindings["*"])


def complete_scope(
    text: str | bytes, origin: str, types: ServiceTypes | None = None
) -> CompletedScope:
    """Return the completed form of a scope.

    Args:
        text: As a user writes it.
        origin: The cloud that stands for `local`, and serves what is not bound.
        types: The valid words for services; None: the built-in ones.

    Raises:
        ScopeError: The text has no lexical form, or its completed form is too long for a scope.
    """
    bindings = {
        service: _LABELS_OR_NAME.sub(
            lambda match: origin if match[0] == "local" else match[0], expression
        )
        for service, expression in _bindings(validated_text(text), types).items()
    }
    bindings.setdefault("*", origin)
    joined = _joined(bindings)
    if len(joined) > MAX_BYTES:
        raise ScopeError(f"longer than {MAX_BYTES} bytes with '*' and 'local' filled in")
    return CompletedScope(bindings, joined)


def _joined(bindings: dict[str, str]) -> str:
    return ";".join(f"{service}:{bindings[service]}" for service in sorted(bindings))


def _bindings(text: str, types: ServiceTypes | None) -> dict[str, str]:
    """Split a validated text into its bindings: official type to lexical expression."""
    start, end = _without_braces(text)
    scan = _Scan(types or built_in())
    for index in range(start, end):
        scan.feed(text[index], index + 1)
    return scan.finish(end + 1)


def _without_braces(text: str) -> tuple[int, int]:
    start = len(text) - len(text.lstrip(BLANKS))
    end = max(start, len(text.rstrip(BLANKS)))
    if not text.startswith("{", start):
        return start, end
    if end - start < 2 or text[end - 1] != "}":
        raise ScopeError("'}' is missing at the end", column=end + 1)
    return start + 1, end - 1


@dataclass(slots=True)
class _Fanout:
    """What one side of a binding has that makes it a fan-out."""

    sign: str = ""
    """Its first `&` or `^`; "" for none."""
    column: int = 0
    """Where that is."""
    labels: bool = False
    """Whether it has `&[`."""
    names: int = 0


class _Scan:
    """The state of one pass over a text: call feed() for each character, then finish()."""

    def __init__(self, types: ServiceTypes) -> None:
        self.types = types
        self.bindings: dict[str, str] = {}
        self.fanouts: list[_Fanout] = []  # of the bindings, in their order
        self.quote = ""  # the open one
        self.brackets = False
        self._start_side(None)

    def feed(self, char: str, column: int) -> None:
        if char in BLANKS:
            self.gap = True
        elif char in QUOTES:
            self._quote(char, column)
        elif char == ":":
            self._end_service(column)
        elif char == ";" or (char == "," and not self.brackets):
            self._end_binding(column)
        else:
            self._keep(char, column)

    def finish(self, column: int) -> dict[str, str]:
        if self.quote:
            raise ScopeError("the closing quote is missing", column=column)
        if self.brackets:
            raise ScopeError("']' is missing", column=column)
        trailing = self.service is None and not self.kept
        if not trailing:
            self._end_binding(column)
        self._check_fanouts()
        return self.bindings

    def _check_fanouts(self) -> None:
        """Refuse fan-outs that multiply: a service of one cloud asks the other service."""
        if len(self.fanouts) < 2:
            return
        by_labels = [fanout for fanout in self.fanouts if fanout.labels]
        if len(by_labels) > 1:
            raise ScopeError("only one service may have '&['", column=by_labels[1].column)
        for fanout in self.fanouts:
            if fanout.names > MAX_NESTED_NAMES:
                raise ScopeError(
                    f"more than {MAX_NESTED_NAMES} clouds here, and another service has "
                    "'&' or '^', too",
                    column=fanout.column,
                )

    def _quote(self, char: str, column: int) -> None:
        if self.quote and self.quote != char:
            raise ScopeError(
                f"the closing {quoted(self.quote)} is missing before {quoted(char)}", column=column
            )
        self.quote = "" if self.quote else char
        self.gap = True

    def _end_service(self, column: int) -> None:
        self._must_be_outside(":", column)
        if self.service is not None:
            raise ScopeError("a second ':' in one binding", column=column)
        if not self.kept:
            raise ScopeError("a service is missing before ':'", column=column)
        service = "*" if self.kept == "*" else self.types.official(self.kept)
        if service is None:
            raise ScopeError(self.types.unknown(self.kept), column=column - len(self.kept))
        if service in self.bindings:
            raise ScopeError(f"the service {service!r} is bound twice", column=column)
        self._start_side(service)

    def _end_binding(self, column: int) -> None:
        self._must_be_outside("the end of a binding", column)
        if self.service is None:
            what = "':'" if self.kept else "a binding"
            raise ScopeError(f"{what} is missing", column=column)
        if not self.kept:
            raise ScopeError(f"an expression is missing for {self.service!r}", column=column)
        if self.fanout.sign:
            self._end_fanout(self.service)
        self.bindings[self.service] = self.kept
        self._start_side(None)

    def _end_fanout(self, service: str) -> None:
        sign, column = self.fanout.sign, self.fanout.column
        if service == "*":
            raise ScopeError(f"'*' takes no {sign!r}: bind each service by its name", column=column)
        if service == "identity":
            raise ScopeError(f"identity takes one cloud, not {sign!r}", column=column)
        self.fanouts.append(self.fanout)

    def _must_be_outside(self, what: str, column: int) -> None:
        if self.quote:
            raise ScopeError(
                f"the closing {quoted(self.quote)} is missing before {what}", column=column
            )
        if self.brackets:
            raise ScopeError(f"']' is missing before {what}", column=column)

    def _start_side(self, service: str | None) -> None:
        self.service = service  # None until the binding's ":"
        self.kept = ""  # of the current side of the binding
        self.gap = False  # a blank or quote since the last kept character
        self.doubled = False  # the last kept "|" stands for "||"
        self.fanout = _Fanout()

    def _keep(self, char: str, column: int) -> None:
        last = self.kept[-1:]
        if char in "{}":
            raise ScopeError(f"{char!r} stands only around the whole scope", column=column)
        if (char == "[") if self.brackets else (char == "]"):
            raise ScopeError(f"{char!r} without its partner", column=column)
        if self.gap and char in NAME_CHARACTERS and last in NAME_CHARACTERS:
            raise ScopeError("an operator or ';' is missing between two names", column=column)
        if char == "|" and last == "|":
            if self.gap or self.doubled:
                raise ScopeError("a cloud is missing between two '|'", column=column)
            self.doubled = True
            return
        if char == "[" and last == "&":
            self.fanout.labels = True
        if char in "[]":
            self.brackets = char == "["
        elif not self.brackets:
            self._count(char, last, column)
        self.kept += char
        self.gap = self.doubled = False

    def _count(self, char: str, last: str, column: int) -> None:
        if char in "&^":
            if not self.fanout.sign:
                self.fanout.sign, self.fanout.column = char, column
        elif char in NAME_CHARACTERS and (not last or last not in NAME_CHARACTERS):
            self.fanout.names += 1
