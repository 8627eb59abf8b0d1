"""Describes a syntax error in a sentence.

Pure. Knows the names of the grammar's terminals, and nothing of lark.
"""

import re

from scopeway.control_plane.scope.errors import ScopeError
from scopeway.control_plane.scope.text import BLANKS, quoted

_ATOM = ("a cloud name", "'local'", "'['", "'('")
_OPERATORS = frozenset({"_OR", "_XOR", "_AND", "_CROSS"})
_AFTER_EXPRESSION = _OPERATORS | {"SEMICOLON"}
_CLOSERS = {"RPAR": "')'", "RSQB": "']'", "_QUOTE": "the closing quote", "RBRACE": "'}'"}
_PARTNERS = {")": "(", "]": "[", "}": "{"}

_LAST_TOKEN = re.compile(r"([a-z0-9._-]+|\|\||.)$")


def syntax_error(text: str, position: int, found: str, accepted: frozenset[str]) -> ScopeError:
    """Return the error of a text that has none of the accepted terminals at a position.

    `position` counts from 0; at the end of the text, `found` is "".
    """
    if "WORD" in accepted:  # "&" is no operator there, but the beginning of `&[…]`
        accepted -= {"_AND"}
    before = text[:position].rstrip(BLANKS)
    last = _LAST_TOKEN.search(before)
    previous = last[0] if last else ""
    if not found:
        message = f"{_any_of(_expected_at_end(accepted, previous))} is missing"
        after = f" after {quoted(previous)}" if previous else ""
        return ScopeError(message + after, column=len(before) + 1)
    return ScopeError(_unexpected(found, previous, accepted), column=position + 1)


def _unexpected(found: str, previous: str, accepted: frozenset[str]) -> str:
    if accepted == {"LSQB"}:  # after the "&" of `&[…]`, and after the second one of `a && b`
        return f"a prefix '&' stands before '[' only, not before {quoted(found)}"
    if accepted <= {"$END"}:
        return f"nothing may follow {quoted(previous)}, but there is {quoted(found)}"
    closers = _closers(accepted)
    if found in _PARTNERS and accepted & _AFTER_EXPRESSION and not closers:
        return f"{found!r} has no {_PARTNERS[found]!r} before it"
    expected = _any_of(closers if found in _PARTNERS and closers else _expected(accepted, previous))
    if not previous:
        return f"{expected} is missing before {quoted(found)}"
    return f"{expected} is missing between {quoted(previous)} and {quoted(found)}"


def _expected_at_end(accepted: frozenset[str], previous: str) -> list[str]:
    if "RBRACE" in accepted:
        return [_CLOSERS["RBRACE"]]
    return _closers(accepted) or _expected(accepted, previous)


def _closers(accepted: frozenset[str]) -> list[str]:
    """Return the signs that would close what is open; before a name, a quote would open."""
    if "WORD" in accepted:
        return []
    return [words for terminal, words in _CLOSERS.items() if terminal in accepted]


def _expected(accepted: frozenset[str], previous: str) -> list[str]:
    """Return what is accepted here, without the obvious alternatives.

    Quotes are accepted wherever a name is, and ',' wherever ';' is.
    """
    if "WORD" in accepted:
        return _words(accepted, previous)
    if accepted == {"LSQB"}:  # after the "&" of `&[…]`
        return ["'['"]
    words = ["an operator"] if accepted & _OPERATORS else []
    if "COLON" in accepted:
        words.append("':'")
    if "EQUAL" in accepted:
        words.append("'='")
    if "SEMICOLON" in accepted:
        words.append("';'")
    elif "COMMA" in accepted:
        words.append("','")
    return words + _closers(accepted)


def _words(accepted: frozenset[str], previous: str) -> list[str]:
    if "LPAR" in accepted:
        return list(_ATOM)
    if "STAR" in accepted:
        return ["a service"]
    return ["a label's value" if previous == "=" else "a label"]


def _any_of(words: list[str]) -> str:
    return " or ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
