"""A whole sweep as two tidy frames: one row per run, and one row per run and epoch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from senet_lab.config import RunConfig, comparable
from senet_lab.errors import UsageError
from senet_lab.records.plan import PlannedRun, read_plan
from senet_lab.records.rows import Metrics, columns
from senet_lab.records.run import RunDirectory, State, Status
from senet_lab.records.survey import readable_status
from senet_lab.records.sweep import SweepDirectory
from senet_lab.records.tables import read_columns

GROUPS = ("model", "activation", "se", "dataset", "augment")
"""Config groups whose options have a name."""
PROGRESS = ("state", "message", "epochs_done", "epochs", "seconds")
"""Progress columns of `runs`; `seconds` is the total over all epochs."""

Progress = Callable[[int, int], object]
"""Callback for the numbers of read and of all runs."""


def _silent(read: int, of: int) -> None:
    """Ignore progress."""


@dataclass(frozen=True)
class Frames:
    """The records of a sweep, as tidy frames."""

    runs: pd.DataFrame
    """One row per run, indexed by its directory: axes, `PROGRESS`, and the last epoch's values."""
    metrics: pd.DataFrame
    """One row per run and epoch: `run` (its directory), the axes, and the columns of `Metrics`."""


def read_frames(sweep: SweepDirectory, progress: Progress = _silent) -> Frames:
    """Read every planned or recorded run of `sweep`, in plan order.

    Axes are the named groups, `lr`, `seed`, and every other value, by its dotted key, in which runs differ.
    A run whose record cannot be read, or is not the one that it left, has no rows of metrics, the state
    `unreadable` or `damaged`, and the reason as its message.

    Raises:
        UsageError: no run, or a plan that cannot be read.
    """
    plan = read_plan(sweep)
    planned = {run.directory: run for run in plan.runs} if plan else {}
    configs: dict[str, RunConfig] = {directory: run.config for directory, run in planned.items()}
    recorded = sweep.find_runs()
    if not configs and not recorded:
        raise UsageError(f"{sweep.path} holds no runs: senet-lab train name={sweep.name} makes them")
    statuses: dict[str, Status] = {}
    tables: dict[str, dict[str, list[Any]]] = {}
    directories = list(configs | recorded)
    for number, directory in enumerate(directories, start=1):
        record = recorded.get(directory)
        try:
            if directory not in configs and record is not None:
                configs[directory] = record.config()
            statuses[directory], tables[directory] = _read(record, planned.get(directory))
        except UsageError as error:
            statuses[directory] = Status(State.UNREADABLE, error=str(error))
        progress(number, len(directories))
    axes = _axes({directory: configs[directory] for directory in directories if directory in configs})
    metrics = _metrics(tables, axes)
    return Frames(_runs(directories, axes, configs, statuses, metrics), metrics)


def _read(record: RunDirectory | None, run: PlannedRun | None) -> tuple[Status, dict[str, list[Any]]]:
    if record is None:
        return Status(), {}
    status = readable_status(record, run)
    if status.state is State.DAMAGED:
        return status, {}
    return status, read_columns(record.metrics_file, record.root, Metrics)


def _axes(configs: Mapping[str, RunConfig]) -> pd.DataFrame:
    """The values in which runs differ, one row per run and one column per axis."""
    named = [
        {group: getattr(config, group).get("name") for group in GROUPS}
        | {"lr": config.lr, "seed": config.seed}
        for config in configs.values()
    ]
    axes = pd.DataFrame(named, index=list(configs))
    flat = pd.json_normalize([_comparable(config) for config in configs.values()])
    flat.index = axes.index
    differing = [key for key in flat if flat[key].nunique(dropna=False) > 1]
    told = {f"{group}." for group in GROUPS if axes[group].nunique(dropna=False) > 1}
    extra = [key for key in differing if key not in (*axes, *PROGRESS) and not key.startswith(tuple(told))]
    return axes.join(flat[extra])


def _comparable(config: RunConfig) -> dict[str, Any]:
    """The plain config with its lists as text, which pandas can compare."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return str(value) if isinstance(value, list) else value

    return plain(comparable(config))


def _metrics(tables: Mapping[str, Mapping[str, Sequence[Any]]], axes: pd.DataFrame) -> pd.DataFrame:
    names = dict.fromkeys([*columns(Metrics), *(name for table in tables.values() for name in table)])
    values: dict[str, list[Any]] = {name: [] for name in ("run", *names)}
    for directory, table in tables.items():
        count = len(table.get("epoch", ()))
        values["run"] += [directory] * count
        for name in names:
            values[name] += table.get(name) or [float("nan")] * count
    metrics = pd.DataFrame(values)
    clash = [name for name in axes if name in names]  # the epoch's own learning rate stays
    return metrics.join(axes.drop(columns=clash), on="run")


def _runs(
    directories: Sequence[str],
    axes: pd.DataFrame,
    configs: Mapping[str, RunConfig],
    statuses: Mapping[str, Status],
    metrics: pd.DataFrame,
) -> pd.DataFrame:
    told = [
        {
            "state": str(status.state),
            "message": status.message,
            "epochs_done": status.epochs_done,
            "epochs": configs[directory].epochs if directory in configs else pd.NA,
            "seconds": status.seconds,
        }
        for directory, status in ((directory, statuses[directory]) for directory in directories)
    ]
    progress = pd.DataFrame(told, index=pd.Index(directories, name="run"))
    last = metrics.drop_duplicates("run", keep="last").set_index("run")
    measured = [name for name in columns(Metrics) if name not in ("epoch", "lr", "seconds")]
    return axes.reindex(directories).rename_axis("run").join(progress).join(last[measured])
