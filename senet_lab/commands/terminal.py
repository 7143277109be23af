"""Tables on the terminal; elsewhere, as in a pipe, the same rows as plain lines, whole and without boxes."""

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
    headings: Sequence[str],
    rows: Iterable[Sequence[Any]],
    title: str = "",
    has_lines: bool = True,
    has_sections: bool = False,
) -> None:
    """Print a table at the terminal's width; without a terminal, in lines as long as their cells.

    Args:
        headings: column headings.
        rows: cells.
        title: title of the table.
        has_lines: on a terminal, lines between columns.
        has_sections: on a terminal, lines between rows with different first cells, each shown once.
    """
    cells = [[cell(value) for value in row] for row in (headings, *rows)]
    console = Console()
    if not console.is_terminal:
        print("\n".join([*([plain(title)] if title else []), columns(cells)]))
        return
    table = Table(
        title=cell(title) if title else None, title_justify="left", box=HEAVY_HEAD if has_lines else None
    )
    for heading in cells[0]:
        table.add_column(heading, overflow="fold")  # nothing is cut off
    previous = None
    for first, *others in cells[1:]:
        is_repeated = has_sections and first == previous
        if has_sections and previous is not None and not is_repeated:
            table.add_section()
        table.add_row("" if is_repeated else first, *others)
        previous = first
    with console.capture() as drawn:
        console.print(table)
    print(drawn.get(), end="")  # rich itself would end the process, with code 1, where nobody reads


def columns(cells: Iterable[Sequence[str | Text]]) -> str:
    """Rows of text in aligned columns, one line per row."""
    rows = [[plain(str(text)) for text in row] for row in cells]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(map(str.ljust, row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
