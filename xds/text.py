"""Makes texts from clients safe for logs, statuses and errors: bounded and printable.

A client may send anything: line feeds that forge a log line, escape sequences that move the cursor
of a terminal, characters that change the direction of a line, megabytes.
"""

from typing import Final

SHOWN: Final = 256
"""Characters of a text that are shown by default."""


def shown(text: str, limit: int = SHOWN) -> str:
    r"""Return a text that is safe to print: escaped, and cut if it is long.

    Characters for which `str.isprintable` is false are escaped, as `\x1b` or `\u202e`: control
    characters, format characters such as those for bidirectional text, lone surrogates, line
    separators. The result has at most `limit` characters, plus the length of the text if it was
    cut.
    """
    cut = text[:limit]
    if not cut.isprintable():
        cut = "".join(map(_escaped, cut))
    if len(text) <= limit and len(cut) <= limit:
        return cut
    return f"{cut[:limit]}… ({len(text)} characters)"


def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
