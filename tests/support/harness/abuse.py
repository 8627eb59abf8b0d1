"""Cases of `tests/testdata/abuse.yaml`, sent as they stand, and their tables in docs/abuse.md."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from harness.http import Response
from harness.http2 import Connection2, Headers, Refused

_REPOSITORY = Path(__file__).parents[3]
_DOCUMENT = _REPOSITORY / "docs" / "abuse.md"

GROUPS: dict[str, list[dict[str, Any]]] = yaml.safe_load(
    (_REPOSITORY / "tests" / "testdata" / "abuse.yaml").read_text()
)


def wire(text: str) -> bytes:
    """Return the bytes of a message of HTTP/1.1: a line ends with CRLF but where it says `<LF>`."""
    text = text.replace("\n", "\r\n").replace("<LF>\r\n", "\n").replace("<CR>", "\r")
    return text.replace("<HT>", "\t").replace("<NUL>", "\0").encode("latin-1")


def is_documented(mark: str, rows: Iterable[Iterable[str]], *, rewrite: bool) -> bool:
    """Return whether the table behind a mark of the document has these rows.

    `rewrite` makes it so.
    """
    head, *cells = [" | ".join(each.replace("|", "\\|") for each in row) for row in rows]
    lines = [f"| {head} |", f"|{'---|' * (head.count(' | ') + 1)}", *(f"| {c} |" for c in cells)]
    table = "\n".join(lines)
    text = _DOCUMENT.read_text()
    made = re.sub(
        rf"(?<=<!-- {mark} -->\n).*?(?=<!-- end -->)", lambda _: f"\n{table}\n\n", text, flags=re.S
    )
    if rewrite:
        _DOCUMENT.write_text(made)
    return made == text or rewrite


def over_http2(port: int, case: dict[str, Any], headers: Headers, **more: Any) -> Response | None:
    """Send a case over HTTP/2, with these headers before its own; None where it is refused.

    `more` is for the connection.
    """
    given: Headers = [(name, value) for name, value in case.get("headers", [])]
    with Connection2(port, **more) as connection:
        try:
            return connection.send(
                case["send"],
                [*headers, *given],
                method=case.get("method", "GET"),
                body=str(case.get("body", "")).encode(),
                pseudo=[(name, value) for name, value in case.get("pseudo", [])],
            )
        except Refused:
            return None
