"""Parses YAML files with several documents into plain values, strictly.

Pure; knows no clouds. It builds the values from libyaml's events. libyaml's own composer recurses
without a limit, which can crash the process, and accepts duplicate keys and aliases.
"""

import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import yaml

MAX_CHARACTERS = 256 * 1024
"""The longest document: hundreds of times the size of a large cloud."""
MAX_DEPTH = 24
MAX_NUMBER = 100
"""Characters of a number; PyYAML takes seconds for a long number in base 60 (`1:30:…`)."""
MAX_DIRECTIVES = 16
"""Lines that begin with `%`; libyaml compares each `%TAG` with all earlier ones."""
_LONGEST_SHOWN = 60
_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"

_MARKER = re.compile(r"^(?:---|\.\.\.)(?=[ \t\r\n]|\Z)", re.MULTILINE)
"""The end of a document: a marker at the start of a line, even within a text (YAML 1.2, 9.1.2)."""
_CONTENT = re.compile(r"^(?!%)[ \t]*[^\s#]", re.MULTILINE)
"""A line that is more than a comment or a directive."""
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_NUMBERS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float"))
_SCALARS = _NUMBERS.union(f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool"))
_TEXTS = frozenset(f"tag:yaml.org,2002:{kind}" for kind in ("str", "timestamp", "merge", "value"))


class NotYaml(ValueError):
    """A document that is not valid; `line` counts from 1 in the text of the document."""

    def __init__(self, reason: str, mark: Any = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = 1 if mark is None else mark.line + 1


def split(text: str) -> Iterator[tuple[int, str]]:
    """Yield the documents of a file that are not empty, each with the number of its first line."""
    line = 1
    start = 0
    ends = [marker.start() for marker in _MARKER.finditer(text)] + [len(text)]
    for end in ends:
        document = text[start:end]
        body = document.removeprefix("...")
        if _CONTENT.search(body):
            yield line, body
        line += document.count("\n")
        start = end


def load(text: str) -> object:
    """Return the value of one document; None if it is empty.

    Timestamps stay texts. Aliases, tags, duplicate keys, and keys that are not scalars are errors.

    Raises:
        NotYaml: the document is not valid.
    """
    if len(text) > MAX_CHARACTERS:
        raise NotYaml(f"longer than {MAX_CHARACTERS} characters")
    if sum(1 for _ in islice(_DIRECTIVE.finditer(text), MAX_DIRECTIVES + 1)) > MAX_DIRECTIVES:
        raise NotYaml(f"more than {MAX_DIRECTIVES} lines that begin with '%'")
    try:
        loader = yaml.CSafeLoader(text)
        try:
            return _document(loader)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        problem = error.problem or str(error)
        if "nesting depth" in problem:  # since PyYAML 6.0.4, whose scanner reads ahead of us
            problem = _TOO_DEEP
        raise NotYaml(problem, error.problem_mark) from None
    except yaml.YAMLError as error:
        raise NotYaml(" ".join(str(error).split())) from None


def _document(loader: Any) -> object:
    loader.get_event()  # the start of the stream
    value = None
    if not loader.check_event(yaml.StreamEndEvent):
        loader.get_event()  # the start of the document
        value = _value(loader, loader.get_event(), 1)
        loader.get_event()  # its end
    if not loader.check_event(yaml.StreamEndEvent):
        raise NotYaml(
            "a second document must begin on a line of its own", loader.peek_event().start_mark
        )
    return value


def _value(loader: Any, event: Any, depth: int) -> object:
    if depth > MAX_DEPTH:
        raise NotYaml(_TOO_DEEP, event.start_mark)
    if isinstance(event, yaml.ScalarEvent):
        return _scalar(loader, event)
    if isinstance(event, yaml.AliasEvent):
        raise NotYaml(
            f"the alias *{_short(str(event.anchor))} is not allowed here", event.start_mark
        )
    if event.tag is not None:
        raise NotYaml(f"the tag {_short(event.tag)!r} is not allowed here", event.start_mark)
    if isinstance(event, yaml.SequenceStartEvent):
        return _list(loader, depth)
    return _mapping(loader, depth)


def _list(loader: Any, depth: int) -> list[object]:
    values = []
    while not isinstance(event := loader.get_event(), yaml.SequenceEndEvent):
        values.append(_value(loader, event, depth + 1))
    return values


def _mapping(loader: Any, depth: int) -> dict[object, object]:
    values: dict[object, object] = {}
    while not isinstance(event := loader.get_event(), yaml.MappingEndEvent):
        if not isinstance(event, yaml.ScalarEvent):
            raise NotYaml("a key that is not a scalar", event.start_mark)
        key = _scalar(loader, event)
        if key in values:
            shown = _short(event.value)
            raise NotYaml(f"duplicate key {shown!r}", event.start_mark)
        values[key] = _value(loader, loader.get_event(), depth + 1)
    return values


def _scalar(loader: Any, event: Any) -> object:
    tag = event.tag
    if tag is None:
        tag = loader.resolve(yaml.ScalarNode, event.value, event.implicit)
    if tag in _TEXTS:
        return event.value
    if tag not in _SCALARS:
        raise NotYaml(f"the tag {_short(tag)!r} is not allowed here", event.start_mark)
    if tag in _NUMBERS and len(event.value) > MAX_NUMBER:
        raise NotYaml(f"a number of more than {MAX_NUMBER} characters", event.start_mark)
    try:
        return cast(object, loader.construct_object(yaml.ScalarNode(tag, event.value)))
    except (ValueError, LookupError):
        shown = _short(event.value)
        raise NotYaml(f"{shown!r} is not what its tag says", event.start_mark) from None


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."
