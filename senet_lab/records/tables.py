"""CSV tables that grow by whole lines, with the headers of `rows`.

Parsed by hand: each number is exactly the one that `repr` wrote, and importing pandas takes longer than most
commands.
"""

import hashlib
import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from senet_lab.errors import UsageError
from senet_lab.files import append_lines, is_there, read_text, remove, write_atomic
from senet_lab.records.migrations import current_table
from senet_lab.records.rows import KEYS, Row, columns, text_columns

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

NAN = float("nan")
Column: TypeAlias = "list[str] | array[int] | array[float]"
"""A column of a table: text, epochs (int64) or numbers (float64); a quarter of the memory of lists."""
_NUMBERS = msgspec.json.Decoder(list[float])


DIGITS = 4
"""Hexadecimal digits that `Digest` keeps of each epoch."""


@dataclass(frozen=True)
class Digest:
    """What vouches for a table."""

    sha256: str
    """SHA-256 of the file."""
    epochs: str = ""
    """The first four hexadecimal digits of each epoch's SHA-256, to find a change; empty if not known."""


def digest(content: bytes) -> Digest:
    """The digest of a table's content."""
    epochs = "".join(found for _, found in _epochs(content))
    return Digest(hashlib.sha256(content).hexdigest(), epochs)


def first_change(content: bytes, kept: Digest) -> str:
    """Where a table differs first from the one of which `kept` is the digest; empty if that is not known."""
    if not kept.epochs:
        return ""
    before = [kept.epochs[at : at + DIGITS] for at in range(0, len(kept.epochs), DIGITS)]
    found = list(_epochs(content))
    for epoch, was in enumerate(before):
        if epoch == len(found):
            return f", first in epoch {epoch}, which is missing"
        if found[epoch][1] != was:
            return f", first in epoch {epoch}, line {found[epoch][0]}"
    return f", first in line {found[len(before)][0]}" if len(found) > len(before) else ", in its header"


def _epochs(content: bytes) -> Iterator[tuple[int, str]]:
    """For each epoch of a table the number of its first line, from 1, and the start of its SHA-256."""
    header, *rows = content.split(b"\n")
    names, number = header.split(b","), 2
    place = names.index(b"epoch") if b"epoch" in names else 0
    for _, group in itertools.groupby(rows[:-1], lambda row: row.split(b",")[place : place + 1]):
        lines = list(group)
        yield number, hashlib.sha256(b"\n".join(lines)).hexdigest()[:DIGITS]
        number += len(lines)


class MissingRowsError(Exception):
    """A table that lacks rows which, according to the checkpoint, were written."""


def append_rows(file: Path, root: Path, rows: Sequence[Row]) -> None:
    """Append whole lines in one write, with the header before the first.

    A table keeps columns of later versions; missing columns are added, blank for earlier rows. Here and in
    the functions below, no symbolic link is followed below the folder `root`.
    """
    kind = type(rows[0])
    if not is_there(file):
        write_atomic(file, _text(columns(kind), (_cells(columns(kind), row) for row in rows)), root)
        return
    header, table = _read(file, root, kind)
    missing = [name for name in columns(kind) if name not in header]
    if missing:
        header += missing
        write_atomic(file, _text(header, ([*row, *("" for _ in missing)] for row in table)), root)
    append_lines(file, "".join(_line(_cells(header, row)) for row in rows), root)


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
    kept = _latest(header, table, kind, epochs)
    if kept:
        write_atomic(file, _text(header, kept), root)
    else:
        remove(file, root)


def require_epochs(file: Path, root: Path, kind: type[Row], epochs: int, count: int) -> None:
    """Raise MissingRowsError unless each of the first `epochs` epochs has `count` rows."""
    header, table = _read(file, root, kind, drop_torn=True) if is_there(file) else (KEYS[kind], [])
    place = header.index("epoch")
    found = [0] * epochs
    for row in _latest(header, table, kind, epochs):
        found[int(row[place])] += 1
    if any(number != count for number in found):
        raise MissingRowsError(f"{file} lacks rows of epochs before {epochs}")


def has_rows(file: Path, root: Path, kind: type[Row], epochs: int, sha256: str | None) -> bool:
    """Whether the first `epochs` epochs of a table were the whole file with this SHA-256.

    A later version may since have added columns. Without a file, the hash is None.

    Raises:
        UsageError: a table that cannot be read.
    """
    if not is_there(file):
        return sha256 is None
    header, table = _read(file, root, kind, drop_torn=True)
    lines = [header, *_latest(header, table, kind, epochs)]
    return any(
        hashlib.sha256("".join(_line(cells[:count]) for cells in lines).encode()).hexdigest() == sha256
        for count in range(len(header), 0, -1)
    )


def no_rows(kind: type[Row]) -> dict[str, Column]:
    """The columns of a table without rows."""
    text = text_columns(kind)
    numbers = {name: array("q" if name == "epoch" else "d") for name in columns(kind) if name not in text}
    return {name: numbers.get(name, []) for name in columns(kind)}


def read_columns(file: Path, root: Path, kind: type[Row]) -> dict[str, Column]:
    """The columns of a table, those of later versions included; empty ones if there is no file.

    Raises:
        UsageError: a missing key column, or a value that is no number; names file, row and column.
    """
    if not is_there(file):
        return no_rows(kind)
    header, table = _read(file, root, kind)
    known, text = columns(kind), text_columns(kind)
    cells_of = dict(zip(header, zip(*table, strict=True), strict=True)) if table else {}
    blank = ("",) * len(table)
    values: dict[str, Column] = {}
    for name in dict.fromkeys([*known, *header]):
        cells = cells_of.get(name, blank)
        if name in text:
            values[name] = list(cells)
            continue
        try:
            if name == "epoch":
                values[name] = array("q", map(_epoch, cells))
            else:
                values[name] = _numbers(cells)
        except ValueError as error:
            if name in known:
                place = _first_wrong(cells, _epoch if name == "epoch" else float)
                raise UsageError(
                    f"{file}, epoch {cells_of['epoch'][place]}, column {name}: {error}"
                ) from error
            values[name] = list(cells)  # a text column of a later version
    return values


def _numbers(cells: Sequence[str]) -> "array[float]":
    """The cells as numbers, NaN for blank ones; ValueError for a text."""
    try:
        numbers = _NUMBERS.decode(f"[{','.join(cells)}]")  # as exact as `float`, and six times as fast
    except msgspec.MsgspecError:  # a blank among others, nan, inf, a text
        numbers = []
    if len(numbers) == len(cells):  # a lone blank is an empty list
        return array("d", numbers)
    return array("d", [float(cell) if cell else NAN for cell in cells])


def _epoch(cell: str) -> int:
    epoch = int(cell)
    if not 0 <= epoch < 2**53:
        raise ValueError(f"{epoch} is no epoch")
    return epoch


def _first_wrong(cells: Sequence[str], convert: Callable[[str], object]) -> int:
    """Place of the first cell that `convert` refuses; a blank one is a number."""
    for place, cell in enumerate(cells):
        try:
            convert(cell or "nan")
        except ValueError:
            return place
    raise AssertionError("each cell is right")


def as_array(column: Column) -> "np.ndarray":
    """A column as an array: objects for text, else the same memory."""
    import numpy as np  # like pandas below, half a second, which writers of records are spared

    return np.asarray(column, object if isinstance(column, list) else None)


def frame(values: Mapping[str, Column]) -> "pd.DataFrame":
    """The columns of `read_columns` as a frame."""
    import pandas as pd

    return pd.DataFrame({name: as_array(column) for name, column in values.items()})


def _read(
    file: Path, root: Path, kind: type[Row], drop_torn: bool = False
) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a table in the current format; each row has a cell for each column.

    Raises:
        UsageError: a missing key column; unless `drop_torn`, a line with too few or too many cells.
    """
    text = read_text(file, root)
    first, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]  # ignore a torn last line
    names = first.split(",")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{file} has the column {twice} twice")
    rows = [line.split(",") for line in lines]
    for number, row in enumerate(rows, start=2):
        if len(row) != len(names) and not drop_torn:
            raise UsageError(f"{file} has {len(row)} cells in line {number}, where {len(names)} belong")
    header, table = current_table(kind, names, [row for row in rows if len(row) == len(names)])
    missing = [name for name in KEYS[kind] if name not in header]
    if missing:
        raise UsageError(
            f"{file} lacks the column {', '.join(missing)}; its header should be {','.join(columns(kind))}"
        )
    return header, table


def _latest(
    header: Sequence[str], table: Iterable[list[str]], kind: type[Row], epochs: int
) -> list[list[str]]:
    """The rows of the first `epochs` epochs, by epoch; of rows with the same key, the last."""
    places, at = [header.index(key) for key in KEYS[kind]], header.index("epoch")
    wanted = set(map(str, range(epochs)))  # `int` would take other digits, too
    found = {tuple(row[place] for place in places): row for row in table if row[at] in wanted}
    return sorted(found.values(), key=lambda row: int(row[at]))


def _cells(header: Sequence[str], row: Row) -> list[str]:
    """A row's cells in the order of `header`; blank in columns that it does not have."""
    values = vars(row)
    return [_cell(values.get(name)) for name in header]


def _cell(value: float | str | None) -> str:
    """Shortest text that reads back as the same number in any locale; blank for a missing value."""
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def _text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _line(header) + "".join(map(_line, rows))


def _line(cells: Sequence[str]) -> str:
    return ",".join(cells) + "\n"
