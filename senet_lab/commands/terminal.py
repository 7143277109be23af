"""Tables on the terminal."""

from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from senet_lab.text import number, plain


def cell(value: Any) -> Text:
    """A number in the format of all tables, or text without markup."""
    if isinstance(value, Text):
        return value
    return Text(plain(value) if isinstance(value, str) else number(value))


def strong(text: str) -> Text:
    """A cell in bold."""
    return Text(plain(text), style="bold")


def print_table(
    headings: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "", has_lines: bool = True
) -> None:
    """Print a table at the terminal's width.

    Args:
        headings: column headings.
        rows: cells.
        title: title of the table.
        has_lines: lines between columns.
    """
    table = Table(
        title=cell(title) if title else None, title_justify="left", box=HEAVY_HEAD if has_lines else None
    )
    for heading in headings:
        table.add_column(cell(heading), overflow="fold")  # nothing is cut off
    for row in rows:
        table.add_row(*map(cell, row))
    console = Console()
    with console.capture() as drawn:
        console.print(table)
    print(drawn.get(), end="")  # rich itself would end the process, with code 1, where nobody reads


def columns(cells: Sequence[Sequence[str]]) -> str:
    """Rows of text in aligned columns, one line per row."""
    rows = [[plain(text) for text in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
