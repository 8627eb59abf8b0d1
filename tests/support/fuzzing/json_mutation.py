"""Documents of JSON with another value somewhere: changed bytes would hardly make one."""

import json
from collections.abc import Sequence
from random import Random
from typing import Any

_ANY = (None, True, False, 0, -1, 65536, 1e9, "", "a", "*", [], {}, [[]], [{}], "\ud800", "\x00")


def mutated(data: bytes, seed: int, words: Sequence[Any]) -> bytes | None:
    """The document with one to three changes; None where it is none."""
    try:
        document = json.loads(data)
        return _changed(document, seed, words) if isinstance(document, dict | list) else None
    except (ValueError, RecursionError):
        return None


def _changed(document: Any, seed: int, words: Sequence[Any]) -> bytes:
    random = Random(seed)
    for _ in range(random.randint(1, 3)):
        places: list[tuple[Any, Any]] = []
        _collect(document, places)
        if places:
            _change(*random.choice(places), places, random, words)
    return json.dumps(document, separators=(",", ":")).encode()


def _collect(node: Any, into: list[tuple[Any, Any]]) -> None:
    """Every value of the document, as what holds it and where."""
    keys = node if isinstance(node, dict) else range(len(node))
    for key in keys:
        into.append((node, key))
        if isinstance(node[key], dict | list):
            _collect(node[key], into)


def _change(
    holder: Any, key: Any, places: Sequence[tuple[Any, Any]], random: Random, words: Sequence[Any]
) -> None:
    other_holder, other_key = random.choice(places)
    other = json.loads(json.dumps(other_holder[other_key]))
    value = random.choice([random.choice(_ANY), random.choice(words), other])
    match random.randint(0, 4):
        case 0 if isinstance(holder, list):
            holder.insert(key, value)
        case 0:
            holder[str(random.choice(words))] = value
        case 1:
            del holder[key]
        case 2 if isinstance(holder[key], str):
            at = random.randint(0, len(holder[key]))
            cut = random.randint(at, len(holder[key]))
            holder[key] = holder[key][:at] + str(random.choice(words)) + holder[key][cut:]
        case _:
            holder[key] = json.loads(json.dumps(value))
