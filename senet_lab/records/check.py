"""Faults of a record: the rows of a run that ended against what its status says of them."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from math import isfinite, isnan
from pathlib import Path
from typing import Any

from senet_lab.errors import UsageError
from senet_lab.files import is_there, read_bytes
from senet_lab.records.rows import Metrics
from senet_lab.records.run import RunDirectory, State, Status
from senet_lab.records.tables import first_change, read_columns
from senet_lab.text import counted

MEASURED = tuple(field.name for field in fields(Metrics) if field.type is float)
"""Columns with a number in each row."""
FRACTIONS = tuple(field.name for field in fields(Metrics) if "_top" in field.name)


def digest_fault(record: RunDirectory, status: Status, table: Path) -> str | None:
    """Why a table is not the file that the run left; None if it is, or if its digest is not known.

    Raises:
        UsageError: it cannot be read.
    """
    kept = status.digests.get(table.name)
    if kept is None:
        return None
    content = record.content(table)
    if content is None:
        return f"{table} is missing"
    if hashlib.sha256(content).hexdigest() == kept.sha256:
        return None
    return f"{table} is not the file that the run left: its SHA-256 differs{first_change(content, kept)}"


def fraction_fault(file: Path, table: Mapping[str, Sequence[Any]]) -> str | None:
    """The first accuracy in the rows of `metrics.csv` that is no fraction, as a sentence."""
    for name in FRACTIONS:
        for place, value in enumerate(table[name]):
            if not isnan(value) and not 0 <= value <= 1:
                epoch = table["epoch"][place]
                return f"{file}, line {place + 2}: {name} of epoch {epoch} is {value:g}, no fraction"
    return None


def rows_fault(record: RunDirectory, status: Status) -> str | None:
    """What is wrong with the rows of a run that ended: their number, columns, ranges, the last accuracy.

    Raises:
        UsageError: `metrics.csv` cannot be read.
    """
    file = record.metrics_file
    if is_there(file):
        read_bytes(file, record.root)  # later errors are due to the content, not to the disk
    try:
        table = read_columns(file, record.root, Metrics)
    except UsageError as error:
        return str(error)
    epochs, done = list(table["epoch"]), status.epochs_done
    if len(epochs) != done:
        return f"{file} has {counted(len(epochs), 'row')} after {counted(done, 'epoch')}"
    if epochs != list(range(done)):
        wrong = next(place for place, epoch in enumerate(epochs) if epoch != place)
        return f"{file}, line {wrong + 2}: epoch {epochs[wrong]}, where {wrong} belongs"
    if status.state is State.FINISHED and status.epochs not in (None, done):
        return f"{record.status_file}: finished after {done} of {counted(status.epochs, 'epoch')}"
    fault = fraction_fault(file, table)
    if fault is not None:
        return fault
    for epoch in range(done) if status.state is State.FINISHED else ():
        for name in MEASURED:
            if not isfinite(float(table[name][epoch])):
                return f"{file}, line {epoch + 2}: {name} of epoch {epoch} is missing or not finite"
    last = float(table["test_top1"][-1]) if done else None
    if status.test_top1 not in (None, last):
        return f"{file}: the last test_top1 is {last}, where {record.status_file.name} has {status.test_top1}"
    return None
