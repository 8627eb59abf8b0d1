"""Prints texts and tables: safe for terminals, and not cut if there is none.

Text from a registry or from Envoys may hold anything, such as codes that move the cursor.
"""

import sys
from typing import TYPE_CHECKING, Final

import click

from scopeway.xds.text import shown

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


LINE: Final = 4096
"""Characters of a line or a cell; what is longer is cut."""


def say(text: str, *, err: bool = False) -> None:
    """Print lines; what is not printable in them is escaped."""
    click.echo("\n".join(shown(line, LINE) for line in text.split("\n")), err=err)


def add_row(to: "Table", *cells: str, style: str | None = None) -> None:
    """Add a row to a table; what is not printable in its cells is escaped."""
    to.add_row(*(shown(cell, LINE) for cell in cells), style=style)


def console() -> "Console":
    """Return a console that takes every text as it is."""
    from rich.console import Console

    # a program or a file reads whole lines
    width = None if sys.stdout.isatty() else 10_000
    return Console(width=width, highlight=False, markup=False)


def table(*columns: str) -> "Table":
    """Return an empty table; what a narrow terminal has no room for goes on below, uncut."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
