"""The figures of a run, as people read them; each was a line of JSON before."""

from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table as RichTable


@dataclass
class Table:
    """Rows, in the order in which they were measured."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)

    def row(self, what: str, figure: str, *, target: str = "", floor: str = "") -> None:
        """Add a row; `floor` is what the same costs without us, or in another way."""
        self.rows.append((what, figure, target, floor))

    def print(self) -> None:
        """Print it to the standard output."""
        table = RichTable("what", "figure", "target", "floor or alternative", box=None)
        for row in self.rows:
            table.add_row(*row)
        Console(width=160).print(table)
