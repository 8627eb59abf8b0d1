"""How a text from a client is shown: bounded and printable, in logs, statuses and errors.

A client may say anything of itself: line feeds that forge a line of a log, escape sequences that
move the cursor of who reads it, characters that change the direction of a line, megabytes.
"""

from typing import Final

SHOWN: Final = 256
"""Characters of a text that are shown unless the caller says otherwise."""


def shown(text: str, limit: int = SHOWN) -> str:
    r"""Return a text that is safe to print: what is not printable is escaped, what is long is cut.

    Escaped, as `\x1b` or `\u202e`, is what `str.isprintable` says no to: control characters,
    format characters such as those for bidirectional text, lone surrogates, line separators. The
    result has at most `limit` characters, and behind them the text's length if it was cut.
    """
    cut = text[:limit]
    if not cut.isprintable():
        cut = "".join(map(_escaped, cut))
    if len(text) <= limit and len(cut) <= limit:
        return cut
    return f"{cut[:limit]}… ({len(text)} characters)"


def _escaped(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode()
