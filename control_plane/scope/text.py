"""The first check of every scope text: size, characters and case; the limits of the language.

Knows neither grammar nor services. Invariant: a validated text is ASCII, lower case and at most
MAX_BYTES long, and its columns are those of the text that the user wrote.
"""

import re

from scopeway.control_plane.scope.errors import ScopeError

MAX_BYTES = 2048
MAX_ATOMS = 32
"""In one expression."""
MAX_PIECES = 256
"""Words and signs in one expression: the parser takes about 10 µs for each."""
MAX_DEPTH = 32
"""Levels of parentheses."""
MAX_NESTED_NAMES = 8
"""Names in the `&` or `^` of a service where another service has one, too: the clouds of the first
ask those of the second, so their numbers multiply."""

BLANKS = " \t"
QUOTES = "\"'"
NAME_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")

_SHOWN = 70
_OUTSIDE = re.compile(r"[^A-Za-z0-9\-._{}\[\]():;,|&^%*=\"' \t]")
_CLOUD_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LABEL_WORD = re.compile(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?")


def validated_text(text: str | bytes) -> str:
    """Return the text in lower case.

    Raises:
        ScopeError: It is too long, not UTF-8, or contains a character outside the language.
    """
    if len(text) > MAX_BYTES:
        raise ScopeError(f"longer than {MAX_BYTES} bytes")
    if isinstance(text, bytes):
        text = _decoded(text)
    outside = _OUTSIDE.search(text)
    if outside is not None:
        raise ScopeError(
            f"the character {outside[0]!a} is not part of the scope language",
            column=outside.start() + 1,
        )
    return text.lower()


def is_cloud_name(word: str) -> bool:
    """Return whether a cloud may have this name: an RFC 1123 label in lower case, not `local`."""
    return word != "local" and _CLOUD_NAME.fullmatch(word) is not None


def is_label_word(word: str) -> bool:
    """Return whether a lower-case word may be a label's name or its value."""
    return _LABEL_WORD.fullmatch(word) is not None


def quoted(text: str) -> str:
    """Return a text for an error message: quoted, in ASCII, and cut after 70 characters."""
    return ascii(text if len(text) <= _SHOWN else text[:_SHOWN] + "...")


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        before = text[: error.start].decode()
        raise ScopeError(
            f"the byte 0x{text[error.start]:02x} is not UTF-8", column=len(before) + 1
        ) from None
