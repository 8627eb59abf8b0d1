"""What a page answers over HTTP."""

import json
from collections.abc import Callable, Mapping
from typing import Any

Answer = tuple[int, str, bytes]
"""Status, content type, body."""
Page = Callable[[], Answer]


def text_answer(status: int, text: str) -> Answer:
    """Return a line of text."""
    return status, "text/plain", f"{text}\n".encode()


def json_answer(value: Mapping[str, Any]) -> Answer:
    """Return an object as JSON."""
    return 200, "application/json", json.dumps(value, indent=2).encode() + b"\n"
