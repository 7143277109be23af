"""A whole sweep as two tidy frames: one row per run, and one row per run and epoch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from senet_lab.analysis.runs import Recorded
from senet_lab.config import RunConfig, comparable
from senet_lab.records.rows import Metrics, PreActivation, Row, columns
from senet_lab.records.tables import Column, as_array, read_columns

GROUPS = ("model", "activation", "se", "dataset", "augment")
"""Config groups whose options have a name."""
PROGRESS = ("state", "message", "epochs_done", "epochs", "seconds")
"""Progress columns of `runs`; `seconds` is the total over all epochs."""


@dataclass(frozen=True)
class Frames:
    """The records of a sweep, as tidy frames."""

    runs: pd.DataFrame
    """One row per run, indexed by its directory: axes, `PROGRESS`, and the last epoch's values."""
    metrics: pd.DataFrame
    """One row per run and epoch: `run` (its directory), the axes, and the columns of `Metrics`."""


def frames(records: Sequence[Recorded]) -> Frames:
    """The frames of a sweep's records.

    Axes are the named groups, `lr`, `seed`, and every other value in which runs differ, by its dotted key.
    A run with an unusable record has no rows of metrics, and the reason as its message.
    """
    axes = _axes({one.directory: one.config for one in records if one.config is not None})
    metrics = _rows(Metrics, {one.directory: one.table for one in records}, axes)
    return Frames(_runs(records, axes, metrics), metrics)


def pre_activations(records: Sequence[Recorded]) -> pd.DataFrame:
    """One row per run, epoch, site and measure: `run`, the columns of `PreActivation`, and the axes.

    Raises:
        UsageError: a table that cannot be read.
    """
    axes = _axes({one.directory: one.config for one in records if one.config is not None})
    tables = {
        one.directory: read_columns(one.record.pre_activations_file, one.record.root, PreActivation)
        for one in records
        if one.is_whole
    }
    return _rows(PreActivation, tables, axes)


def _axes(configs: Mapping[str, RunConfig]) -> pd.DataFrame:
    """The values in which runs differ, one row per run and one column per axis."""
    named = [
        {group: getattr(config, group).get("name") for group in GROUPS}
        | {"lr": config.lr, "seed": config.seed}
        for config in configs.values()
    ]
    axes = pd.DataFrame(named, index=list(configs))
    # Of thousands of runs, most differ in rate and seed alone.
    others = [_without_rate_and_seed(config) for config in configs.values()]
    distinct = dict(zip(others, configs.values(), strict=True))
    flat = pd.json_normalize([_comparable(config) for config in distinct.values()])
    differing = [key for key in flat if flat[key].nunique(dropna=False) > 1]
    named_groups = tuple(f"{group}." for group in GROUPS if axes[group].nunique(dropna=False) > 1)
    extra = [key for key in differing if key not in (*axes, *PROGRESS) and not key.startswith(named_groups)]
    return axes.join(flat[extra].set_axis(list(distinct)).loc[others].set_axis(axes.index))


def _without_rate_and_seed(config: RunConfig) -> str:
    """The config as text, without two values that are axes of their own."""
    return repr({key: value for key, value in vars(config).items() if key not in ("lr", "seed")})


def _comparable(config: RunConfig) -> dict[str, Any]:
    """The plain config with its lists as text, which pandas can compare."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return str(value) if isinstance(value, list) else value

    return plain(comparable(config))


def _rows(kind: type[Row], tables: Mapping[str, Mapping[str, Column]], axes: pd.DataFrame) -> pd.DataFrame:
    """The rows of all runs' tables of one kind, with their run and its axes."""
    names = dict.fromkeys([*columns(kind), *(name for table in tables.values() for name in table)])
    counts = [len(table["epoch"]) for table in tables.values()]
    values = {name: np.concatenate([_column(table, name) for table in tables.values()]) for name in names}
    run = pd.Index(list(tables)).repeat(counts)
    clash = [name for name in axes if name in names]  # the epoch's own learning rate stays
    own = axes.drop(columns=clash).loc[run].reset_index(drop=True)
    return pd.concat([pd.DataFrame({"run": run, **values}), own], axis="columns")


def _column(table: Mapping[str, Column], name: str) -> np.ndarray:
    """A column of one run's table, NaN where the table lacks it."""
    column = table.get(name)
    return np.full(len(table["epoch"]), np.nan) if column is None else as_array(column)


def _runs(records: Sequence[Recorded], axes: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    directories = [one.directory for one in records]
    rows = [
        {
            "state": str(one.status.state),
            "message": one.status.message,
            "epochs_done": one.status.epochs_done,
            "epochs": pd.NA if one.config is None else one.config.epochs,
            "seconds": one.status.seconds,
        }
        for one in records
    ]
    progress = pd.DataFrame(rows, index=pd.Index(directories, name="run"))
    last = metrics.drop_duplicates("run", keep="last").set_index("run")
    measured = [name for name in columns(Metrics) if name not in ("epoch", "lr", "seconds")]
    return axes.reindex(directories).rename_axis("run").join(progress).join(last[measured])
