"""What the demo shows while it runs: titles, commands, their answers, traces and times.

Owns the look, with rich; plain text where the output is no terminal or is asked to be plain.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from rich.console import Console
from rich.text import Text

INDENT = 3


class Screen:
    """Prints to standard output; one task at a time."""

    def __init__(self, *, plain: bool = False) -> None:
        """Looks whether standard output is a terminal."""
        self._console = Console(
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=True,
            no_color=plain or None,
            force_terminal=False if plain else None,
        )

    def title(self, text: str) -> None:
        """Begins a part of the story."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    @contextmanager
    def task(self, text: str) -> Iterator[None]:
        """Shows that something goes on, and then how long it took."""
        started = time.monotonic()
        with self._console.status(Text(text)):
            yield
        self._timed("✓", text, time.monotonic() - started)

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """One numbered step: its title, what it prints, its time."""
        self.title(title)
        started = time.monotonic()
        yield
        self._timed("✓", "as expected", time.monotonic() - started)

    def say(self, text: str) -> None:
        """One line of explanation."""
        self._indented(Text(text, style="italic"))

    def command(self, text: str) -> None:
        """A command as a person would type it."""
        self._indented(Text(f"$ {text}", style="cyan"))

    def output(self, text: str) -> None:
        """What a command answered."""
        for line in text.rstrip().splitlines() or ["(nothing)"]:
            self._indented(Text(line))

    def working(self) -> AbstractContextManager[object]:
        """Shows that something goes on, and nothing afterwards."""
        return self._console.status("")

    def gap(self) -> None:
        """An empty line."""
        self._console.print()

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """A small table, as wide as its content."""
        lines = [columns, *rows]
        widths = [max(len(line[index]) for line in lines) for index in range(len(columns))]
        for number, line in enumerate(lines):
            cells = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
            self._indented(Text("  ".join(cells).rstrip(), style="dim" if number == 0 else ""))

    def problem(self, text: str) -> None:
        """Something that went wrong."""
        self._console.print(Text(text, style="red"))

    def _indented(self, text: Text) -> None:
        self._console.print(" " * INDENT, text)

    def _timed(self, mark: str, text: str, seconds: float) -> None:
        line = Text.assemble((f" {mark} ", "green"), text, (f"  {seconds:.1f} s", "dim"))
        self._console.print(line)
