"""The runs of a sweep, from its plan and records."""

from dataclasses import dataclass

import pandas as pd

from senet_lab.config import RunConfig
from senet_lab.errors import UsageError
from senet_lab.records.plan import read_plan
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import RunDirectory, State
from senet_lab.records.survey import living_status
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


def read_runs(sweep: SweepDirectory, unreadable: dict[str, str] | None = None) -> list[Run]:
    """Every planned or recorded run of `sweep`, in plan order.

    Args:
        sweep: the sweep's folder.
        unreadable: if given, runs whose record cannot be read are left out, and it receives their directory
            and the reason.

    Raises:
        UsageError: no run, or an unreadable record without `unreadable`.
    """
    plan = read_plan(sweep)
    planned = {run.directory: run.config for run in plan.runs} if plan else {}
    recorded = sweep.find_runs()
    if not planned and not recorded:
        raise UsageError(f"{sweep.path} holds no runs to plot: senet-lab train name={sweep.name} makes them")
    runs = []
    for directory in planned | recorded:
        if directory not in recorded:
            empty = pd.DataFrame(columns=columns(Metrics), dtype=float)
            runs.append(Run(directory, planned[directory], MISSING, empty))
            continue
        try:
            record = recorded[directory]
            config = planned.get(directory) or record.config()
            runs.append(read_run(directory, record, config, living_status(record).state))
        except UsageError as error:
            if unreadable is None:
                raise
            unreadable[directory] = str(error)
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
    return Run(directory, config, MISSING if state == State.PLANNED else state, metrics)
