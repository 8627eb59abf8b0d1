"""Structured field values of HTTP (RFC 9651), as far as `X-Scopeway-Report` needs them.

Reads dictionaries and lists. Refuses dates and byte sequences. The time is linear in the length,
which the caller has to limit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

Value = bool | int | float | str

_SPACES = re.compile(r" *")
_COMMA = re.compile(r"[ \t]*,[ \t]*(?=[^ \t])")
_KEY = re.compile(r"[a-z*][a-z0-9_.*-]*")
_VALUE = re.compile(
    r"(?P<decimal>-?[0-9]{1,12}\.[0-9]{1,3})(?![0-9.])"
    r"|(?P<integer>-?[0-9]{1,15})(?![0-9.])"
    r'|"(?P<string>(?:[ !#-\[\]-~]|\\["\\])*)"'
    r"|\?(?P<boolean>[01])"
    r'|%"(?P<display>(?:[ !#$&-~]|%[0-9a-f]{2})*)"'
    r"|(?P<token>[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
)
_ESCAPED = re.compile(r'\\(["\\])')


class InvalidField(ValueError):
    """The text is not a structured field of this kind."""


@dataclass(frozen=True, slots=True)
class Item:
    """A value or an inner list, with its parameters."""

    value: "Value | tuple[Item, ...]"
    parameters: Mapping[str, Value]


def parse_list(text: str) -> list[Item]:
    """Parse a list, for instance `a;status=201, b;status=503`.

    Raises:
        InvalidField: The text is not a list.
    """
    text = text.strip(" ")
    items: list[Item] = []
    at = 0
    while text:
        item, at = _member(text, at)
        items.append(item)
        if at == len(text):
            break
        at = _after_comma(text, at)
    return items


def parse_dictionary(text: str) -> dict[str, Item]:
    """Parse a dictionary, for instance `asked=40, clouds=(b;status=503 c)`.

    Raises:
        InvalidField: The text is not a dictionary.
    """
    text = text.strip(" ")
    members: dict[str, Item] = {}
    at = 0
    while text:
        key, at = _key(text, at)
        if text.startswith("=", at):
            members[key], at = _member(text, at + 1)
        else:
            parameters, at = _parameters(text, at)
            members[key] = Item(True, parameters)
        if at == len(text):
            break
        at = _after_comma(text, at)
    return members


def _after_comma(text: str, at: int) -> int:
    comma = _COMMA.match(text, at)
    if comma is None:
        raise InvalidField(f"a comma and a member are missing at character {at + 1}")
    return comma.end()


def _member(text: str, at: int) -> tuple[Item, int]:
    if not text.startswith("(", at):
        return _item(text, at)
    items: list[Item] = []
    at = _behind_spaces(text, at + 1)
    while not text.startswith(")", at):
        item, end = _item(text, at)
        items.append(item)
        at = _behind_spaces(text, end)
        if at == end and not text.startswith(")", at):
            raise InvalidField(f"a space or ')' is missing at character {at + 1}")
    parameters, at = _parameters(text, at + 1)
    return Item(tuple(items), parameters), at


def _item(text: str, at: int) -> tuple[Item, int]:
    value, at = _value(text, at)
    parameters, at = _parameters(text, at)
    return Item(value, parameters), at


def _parameters(text: str, at: int) -> tuple[dict[str, Value], int]:
    parameters: dict[str, Value] = {}
    while text.startswith(";", at):
        key, at = _key(text, _behind_spaces(text, at + 1))
        parameters[key] = True
        if text.startswith("=", at):
            parameters[key], at = _value(text, at + 1)
    return parameters, at


def _behind_spaces(text: str, at: int) -> int:
    spaces = _SPACES.match(text, at)
    assert spaces is not None, "it matches no spaces, too"
    return spaces.end()


def _key(text: str, at: int) -> tuple[str, int]:
    found = _KEY.match(text, at)
    if found is None:
        raise InvalidField(f"a key is missing at character {at + 1}")
    return found[0], found.end()


def _value(text: str, at: int) -> tuple[Value, int]:
    found = _VALUE.match(text, at)
    if found is None:
        raise InvalidField(f"a value is missing at character {at + 1}")
    return _converted(str(found.lastgroup), found[str(found.lastgroup)]), found.end()


def _converted(kind: str, text: str) -> Value:
    match kind:
        case "integer":
            return int(text)
        case "decimal":
            return float(text)
        case "boolean":
            return text == "1"
        case "string":
            return _ESCAPED.sub(r"\1", text)
        case "display":
            try:
                return unquote_to_bytes(text).decode()
            except UnicodeDecodeError:
                raise InvalidField("a display string is not UTF-8") from None
    return text
