"""The runs of a sweep, from its plan and records."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from senet_lab.config import RunConfig
from senet_lab.errors import UsageError
from senet_lab.records.check import fraction_fault
from senet_lab.records.plan import PlannedRun, read_plan
from senet_lab.records.rows import Metrics
from senet_lab.records.run import UNUSABLE, Environment, RunDirectory, State, Status
from senet_lab.records.selection import Selection, select
from senet_lab.records.survey import readable_status
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.tables import Column, frame, no_rows, read_columns

MISSING = "missing"
"""The state of a planned or expected run that has not begun."""


@dataclass(frozen=True)
class Run:
    """A run with its recorded epochs."""

    directory: str
    """Directory relative to the sweep's folder."""
    config: RunConfig
    state: str
    """One of `State`, or `MISSING`."""
    metrics: pd.DataFrame
    """The columns of `Metrics`, one row per epoch."""
    attempts: tuple[Environment, ...] = ()
    """Software and hardware of its attempts; empty if their record cannot be read."""
    message: str = ""
    """Error and notes of its status."""


@dataclass(frozen=True)
class Recorded:
    """A planned or recorded run, as read from disk."""

    directory: str
    """Directory relative to the sweep's folder."""
    config: RunConfig | None
    """None if its record is unreadable and it is in no plan."""
    status: Status
    """With the state `unreadable` or `damaged`, and the reason, if its record cannot be used."""
    table: Mapping[str, Column]
    """The columns of `Metrics`; empty if the record cannot be used."""
    record: RunDirectory

    @property
    def is_whole(self) -> bool:
        """Whether its record can be used."""
        return self.status.state not in UNUSABLE


Progress = Callable[[int, int], object]
"""Callback for the number of runs read so far and of all runs."""


def _silent(read: int, of: int) -> None:
    """Ignore progress."""


def read_records(sweep: SweepDirectory, progress: Progress = _silent) -> list[Recorded]:
    """Every planned or recorded run of `sweep`, in plan order.

    Raises:
        UsageError: no run, or a plan that cannot be read.
    """
    plan = read_plan(sweep)
    planned = {run.directory: run for run in plan.runs} if plan else {}
    recorded = sweep.find_runs()
    if not planned and not recorded:
        raise UsageError(f"{sweep.path} holds no runs: senet-lab train {sweep.words} makes them")
    directories = list(planned | recorded)
    found = []
    for number, directory in enumerate(directories, start=1):
        found.append(
            _read(directory, recorded.get(directory) or sweep.run(directory), planned.get(directory))
        )
        progress(number, len(directories))
    return found


def _read(directory: str, record: RunDirectory, run: PlannedRun | None) -> Recorded:
    config = run.config if run else None
    found = Recorded(directory, config, readable_status(record, run), no_rows(Metrics), record)
    try:
        found = replace(found, config=config or record.config())
        return replace(found, table=_table(record)) if found.is_whole else found
    except UsageError as error:
        return replace(found, status=Status(State.UNREADABLE, error=str(error)))


def _table(record: RunDirectory) -> dict[str, Column]:
    """The columns of a run's `metrics.csv`; UsageError for an epoch that is there twice, or no accuracy."""
    table = read_columns(record.metrics_file, record.root, Metrics)
    fault = fraction_fault(record.metrics_file, table)
    if fault is not None:
        raise UsageError(fault)
    if len(set(table["epoch"])) < len(table["epoch"]):
        twice = next(epoch for epoch, times in Counter(table["epoch"]).items() if times > 1)
        raise UsageError(f"{record.metrics_file} has epoch {twice} twice, where each belongs once")
    return table


def selected(records: list[Recorded], selection: Selection) -> list[Recorded]:
    """The records of the selected runs; a run whose config is not known is in none but the empty selection.

    Raises:
        UsageError: see `select`.
    """
    return select(configured(records), selection) if selection else records


def configured(records: Sequence[Recorded]) -> list[Any]:
    """The records whose config is known, as `records.selection.Configured`."""
    return [one for one in records if one.config is not None]


def usable_runs(records: Sequence[Recorded]) -> list[Run]:
    """The runs with a usable record."""
    return [
        _run(one.directory, one.record, one.config, one.status.state, one.table, one.status.message)
        for one in records
        if one.is_whole and one.config is not None
    ]


def left_out(records: Sequence[Recorded]) -> dict[str, Status]:
    """The statuses of the other runs, by directory."""
    return {one.directory: one.status for one in records if not one.is_whole}


def read_run(directory: str, record: RunDirectory, config: RunConfig, state: str) -> Run:
    """One run of known config and state, with its recorded epochs.

    Raises:
        UsageError: the record cannot be read.
    """
    return _run(directory, record, config, state, _table(record))


def run_without_epochs(directory: str, config: RunConfig, state: str) -> Run:
    """A run whose record cannot be used."""
    return Run(directory, config, state, frame(no_rows(Metrics)))


def _run(
    directory: str,
    record: RunDirectory,
    config: RunConfig,
    state: str,
    table: Mapping[str, Column],
    message: str = "",
) -> Run:
    state = MISSING if state == State.PLANNED else state
    return Run(directory, config, state, frame(table), _attempts(record), message)


def _attempts(record: RunDirectory) -> tuple[Environment, ...]:
    try:
        return record.environments()
    except UsageError:  # the report's section on environments names it
        return ()
