"""CSV tables that grow by whole lines, with the headers of `rows`.

Parsed by hand: `float` returns exactly the number that `repr` wrote, and importing pandas takes longer than
most commands.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from senet_lab.errors import UsageError
from senet_lab.files import append_lines, is_there, read_text, remove, write_atomic
from senet_lab.records.migrations import current_table
from senet_lab.records.rows import KEYS, Row, columns, text_columns

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


class MissingRowsError(Exception):
    """A table that lacks rows which, according to the checkpoint, were written."""


def append_rows(file: Path, root: Path, rows: Sequence[Row]) -> None:
    """Append whole lines in one write, with the header before the first.

    A table keeps columns of later versions; missing columns are added, blank for earlier rows. Here and in
    the functions below, no symbolic link is followed below the folder `root`.
    """
    kind = type(rows[0])
    if not is_there(file):
        write_atomic(file, _text(columns(kind), map(_cells, rows)), root)
        return
    header, table = _read(file, root, kind)
    missing = [name for name in columns(kind) if name not in header]
    if missing:
        header += missing
        write_atomic(file, _text(header, (_in_order(header, row) for row in table)), root)
    append_lines(file, "".join(_line(_in_order(header, _cells(row))) for row in rows), root)


def keep_epochs(file: Path, root: Path, kind: type[Row], epochs: int, count: int) -> None:
    """Truncate a table to the first `epochs` epochs, those that the checkpoint covers.

    Drops torn rows and rows of later epochs; of rows with the same key, keeps the last.

    Args:
        file: the table; deleted if no row is left.
        root: see `append_rows`.
        kind: class of its rows.
        epochs: number of epochs to keep.
        count: rows per epoch.

    Raises:
        MissingRowsError: one of these epochs lacks rows.
        UsageError: no such table.
    """
    require_epochs(file, root, kind, epochs, count)
    if not is_there(file):
        return
    header, table = _read(file, root, kind, drop_torn=True)
    kept = _latest(table, kind, epochs)
    if kept:
        write_atomic(file, _text(header, (_in_order(header, row) for row in kept)), root)
    else:
        remove(file, root)


def require_epochs(file: Path, root: Path, kind: type[Row], epochs: int, count: int) -> None:
    """Raise MissingRowsError unless each of the first `epochs` epochs has `count` rows."""
    table = _read(file, root, kind, drop_torn=True)[1] if is_there(file) else []
    found = [0] * epochs
    for row in _latest(table, kind, epochs):
        found[int(row["epoch"])] += 1
    if any(number != count for number in found):
        raise MissingRowsError(f"{file} lacks rows of epochs before {epochs}")


def read_columns(file: Path, root: Path, kind: type[Row]) -> dict[str, list[float] | list[str] | list[int]]:
    """The columns of a table, those of later versions included; empty lists if there is no file.

    Raises:
        UsageError: a missing key column, or a value that is no number; names file, line and column.
    """
    if not is_there(file):
        return {name: [] for name in columns(kind)}
    header, table = _read(file, root, kind)
    values: dict[str, list[float] | list[str] | list[int]] = {}
    for name in dict.fromkeys([*columns(kind), *header]):
        cells = [row.get(name, "") for row in table]
        try:
            if name in text_columns(kind):
                values[name] = cells
            elif name == "epoch":
                values[name] = [int(cell) for cell in cells]
            else:
                values[name] = [float(cell) if cell else NAN for cell in cells]
        except ValueError as error:
            if name in columns(kind):
                raise UsageError(f"{file}, column {name}: {error}") from error
            values[name] = cells  # a text column of a later version
    return values


def frame(kind: type[Row], values: Mapping[str, Sequence[Any]]) -> "pd.DataFrame":
    """The columns of `read_columns` as a frame."""
    import pandas as pd  # half a second, which writers of records are spared

    text = text_columns(kind)
    types = {name: object if name in text else float for name in values} | {"epoch": "int64"}
    return pd.DataFrame(values) if values["epoch"] else pd.DataFrame(values).astype(types)


def _read(
    file: Path, root: Path, kind: type[Row], drop_torn: bool = False
) -> tuple[list[str], list[dict[str, str]]]:
    """Header and rows of a table in the current format, each row's cells by column.

    Raises:
        UsageError: a missing key column; unless `drop_torn`, a line with too few or too many cells.
    """
    text = read_text(file, root)
    first, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]  # ignore a torn last line
    names = first.split(",")
    rows = [line.split(",") for line in lines]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names) and not drop_torn:
            raise UsageError(f"{file} has {len(row)} cells in line {number}, where {len(names)} belong")
    whole = [dict(zip(names, row, strict=True)) for row in rows if len(row) == len(names)]
    header, table = current_table(kind, names, whole)
    missing = [name for name in KEYS[kind] if name not in header]
    if missing:
        raise UsageError(
            f"{file} lacks the column {', '.join(missing)}; its header should be {','.join(columns(kind))}"
        )
    return header, table


def _latest(table: Iterable[dict[str, str]], kind: type[Row], epochs: int) -> list[dict[str, str]]:
    """The rows of the first `epochs` epochs, by epoch; of rows with the same key, the last."""
    found = {
        tuple(row[key] for key in KEYS[kind]): row
        for row in table
        if row["epoch"].isdecimal() and int(row["epoch"]) < epochs
    }
    return sorted(found.values(), key=lambda row: int(row["epoch"]))


def _cells(row: Row) -> dict[str, str]:
    return {name: _cell(value) for name, value in vars(row).items()}


def _cell(value: float | str | None) -> str:
    """Shortest text that reads back as the same number in any locale; blank for a missing value."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _in_order(header: Sequence[str], cells: dict[str, str]) -> dict[str, str]:
    return {name: cells.get(name, "") for name in header}


def _text(header: Sequence[str], rows: Iterable[dict[str, str]]) -> str:
    return ",".join(header) + "\n" + "".join(map(_line, rows))


def _line(cells: dict[str, str]) -> str:
    return ",".join(cells.values()) + "\n"
