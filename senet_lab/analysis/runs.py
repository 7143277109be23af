"""The runs of a sweep, from its plan and records."""

from dataclasses import dataclass

import pandas as pd

from senet_lab.config import RunConfig
from senet_lab.errors import UsageError
from senet_lab.records.plan import read_plan
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import Environment, RunDirectory, State, Status
from senet_lab.records.survey import readable_status
from senet_lab.records.sweep import SweepDirectory

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
    """The columns of `Metrics`, one row an epoch."""
    attempts: tuple[Environment, ...] = ()
    """Software and hardware of its attempts; empty if their record cannot be read."""


def read_runs(sweep: SweepDirectory, left_out: dict[str, Status] | None = None) -> list[Run]:
    """Every planned or recorded run of `sweep`, in plan order.

    Args:
        sweep: the sweep's folder.
        left_out: if given, runs whose record is unreadable or damaged are left out, and it receives their
            directories and states.

    Raises:
        UsageError: no run, or an unreadable or damaged record without `left_out`.
    """
    plan = read_plan(sweep)
    planned = {run.directory: run for run in plan.runs} if plan else {}
    recorded = sweep.find_runs()
    if not planned and not recorded:
        raise UsageError(f"{sweep.path} holds no runs to plot: senet-lab train name={sweep.name} makes them")
    runs = []
    for directory in planned | recorded:
        if directory not in recorded:
            empty = pd.DataFrame(columns=columns(Metrics), dtype=float)
            runs.append(Run(directory, planned[directory].config, MISSING, empty))
            continue
        record, run = recorded[directory], planned.get(directory)
        status = readable_status(record, run)
        if status.state not in (State.DAMAGED, State.UNREADABLE):
            try:
                config = run.config if run else record.config()
                runs.append(read_run(directory, record, config, status.state))
                continue
            except UsageError as error:
                status = Status(State.UNREADABLE, error=str(error))
        if left_out is None:
            raise UsageError(f"{directory} is {status.state}: {status.error}")
        left_out[directory] = status
    return runs


def read_run(directory: str, record: RunDirectory, config: RunConfig, state: str) -> Run:
    """One run of known config and state, with its recorded epochs.

    Raises:
        UsageError: the record cannot be read.
    """
    metrics = record.metrics()
    if metrics["epoch"].duplicated().any():
        epoch = metrics["epoch"][metrics["epoch"].duplicated()].iloc[0]
        raise UsageError(f"{record.metrics_file} has epoch {epoch:g} twice, where each belongs once")
    state = MISSING if state == State.PLANNED else state
    return Run(directory, config, state, metrics, _attempts(record))


def _attempts(record: RunDirectory) -> tuple[Environment, ...]:
    try:
        return record.environments()
    except UsageError:  # the report's section on environments names it
        return ()
