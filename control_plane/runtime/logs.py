"""The format of log lines: the message, followed by its `extra` fields.

A field that the message already shows is not repeated. Such a log call has named placeholders
("%(node)s") and passes its fields twice: as the argument of the message and as `extra`.
"""

import logging
import sys
from typing import Any, Final

from scopeway.xds.text import shown

_KNOWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


MAX_LINE: Final = 8192
"""Characters of a line, and of each line of a traceback; longer ones are cut."""


class Formatter(logging.Formatter):
    """One line: time, level, logger, message, and the other extra fields as `name=value`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the line without a traceback."""
        extra = {
            name: value
            for name, value in vars(record).items()
            if name not in _KNOWN and f"%({name})" not in str(record.msg)
        }
        fields = "".join(f" {name}={value!r}" for name, value in sorted(extra.items()))
        # a client's text must neither look like a line of this log nor move a terminal's cursor
        return shown(super().formatMessage(record) + fields, MAX_LINE)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Return the traceback, each line of it indented: none looks like a line of the log."""
        lines = super().formatException(ei).splitlines()
        return "\n".join(f"    {shown(line, MAX_LINE)}" for line in lines)


def set_up(level: str) -> None:
    """Log to standard error from `level` ("debug" to "error") on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
