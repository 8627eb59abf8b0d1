"""Requests and answers as texts, so that a fuzzer can change them and people can read them.

    image3 GET /image/v2
    x-scope: image:cloud-2

    {"a body": "behind an empty line"}

The letters say where it arrives, the number which call of Envoy's methods fails. Characters are of
latin-1. What Envoy's codecs let through comes through: no control characters, names in lower case,
a length in digits, a path with its slash.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from fuzzing import json_mutation
from lua_envoy import Sent, joined

_FIRST = re.compile(r"([A-Za-z-]*)([0-9]{0,3}) *([^ ]*) ?(.*)")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9a-z-]+):[ \t]*(.*?)[ \t]*")
_CONTROLS = re.compile("[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    where: str
    fails_at: int
    method: str
    """Or the status."""
    path: str | None
    headers: Sequence[tuple[str, str]] = field(default=())
    body: str | None = None

    def by_name(self) -> dict[str, str]:
        return joined(self.headers)


def read(text: str) -> Message:
    head, empty_line, body = text.partition("\n\n")
    first, *lines = head.split("\n")
    parts = _FIRST.fullmatch(_CONTROLS.sub("", first))
    assert parts
    found = (_HEADER.fullmatch(_CONTROLS.sub("", line)) for line in lines)
    pairs = [(each[1], each[2]) for each in found if each]
    lengths = [value for name, value in pairs if name == "content-length" and value.isdecimal()]
    rest = [(name, value) for name, value in pairs if name != "content-length"]
    return Message(
        where=parts[1],
        fails_at=int(parts[2] or 0),
        method=parts[3],
        path=_path(parts[4]),
        headers=[*rest, *(("content-length", length[:9]) for length in lengths[:1])],
        body=body if empty_line else None,
    )


def _path(text: str) -> str | None:
    return text if text[:1] in {"/", "*"} else f"/{text}" if text else None


def padded(message: Message, length: int) -> Message:
    """The same with a body of about that length: so near to a limit no fuzzer comes by itself."""
    return replace(message, body=" " * (length - 100) + (message.body or ""))


def mutated(data: bytes, seed: int, words: Sequence[str]) -> bytes | None:
    """A message with one to three other headers, or another value in its body."""
    random = Random(seed)
    head, empty_line, body = data.decode("latin-1").partition("\n\n")
    if body and random.random() < 0.5:
        made = json_mutation.mutated(body.encode("latin-1"), seed, words)
        return None if made is None else f"{head}\n\n".encode("latin-1") + made
    lines = head.split("\n")
    for _ in range(random.randint(1, 3)):
        _change(lines, random, words)
    return ("\n".join(lines) + empty_line + body).encode("latin-1")


def _change(lines: list[str], random: Random, words: Sequence[str]) -> None:
    at = random.randrange(len(lines))
    word = random.choice(words)
    match random.randint(0, 5):
        case 0:
            lines.insert(at + 1, f"{random.choice(words)}: {word}")
        case 1 if at:
            del lines[at]
        case 2 if at:
            lines.insert(random.randint(1, len(lines)), lines[at])
        case 3 if at:
            other = random.randrange(1, len(lines))
            value = lines[other].partition(": ")[2]
            lines[at] = f"{lines[at].partition(': ')[0]}: {value}"
        case _:
            start = random.randint(0, len(lines[at]))
            stop = random.choice([start, random.randint(start, len(lines[at])), len(lines[at])])
            lines[at] = lines[at][:start] + word + lines[at][stop:]


def text_of(first: str, headers: Sequence[tuple[str, str]] = (), body: Any = None) -> bytes:
    lines = [first, *(f"{name}: {value}" for name, value in headers)]
    return "\n".join([*lines, *([] if body is None else ["", body])]).encode("latin-1")


def check_failed(request: Message, sent: Sent, refuses: bool) -> None:
    """Check what became of a message where one of Envoy's methods failed.

    `refuses`: the refusal itself has failed. Then there is no target, and the routes refuse.
    """
    if not refuses:
        assert sent.answer is not None, "it went on though Envoy's method failed"
        assert sent.answer.status == 500
        assert sent.log
    for name in ("x-scopeway-target", "x-scopeway-service", "x-scopeway-method"):
        assert sent.answer or sent.headers.get(name) == request.by_name().get(name)
