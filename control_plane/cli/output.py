"""How tables reach standard output: as wide as the terminal, or whole where there is none."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def console() -> "Console":
    """Return a console that takes every text as it is."""
    from rich.console import Console

    # as wide as it comes where no screen limits it: a program, or a file, reads whole lines
    width = None if sys.stdout.isatty() else 10_000
    return Console(width=width, highlight=False, markup=False)


def table(*columns: str) -> "Table":
    """Return an empty table; what a narrow terminal has no room for goes on below, uncut."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
