"""Published values for the lines of a sweep, from the file that `published` names.

Each row of values has conditions on run configs, and applies to the lines whose runs meet all of them.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import pandas as pd

import senet_lab
from senet_lab.analysis.grouping import LINE, Line, Panel
from senet_lab.analysis.metrics import Metric, known_metrics
from senet_lab.analysis.statistics import over_seeds
from senet_lab.config import RunConfig, as_plain
from senet_lab.dotted import leaves
from senet_lab.errors import UsageError
from senet_lab.files import read_yaml, typed
from senet_lab.text import counted

NO_CONDITIONS = ("epoch", "run", "runs", "source", "macs")
"""Columns that are neither metrics nor conditions on runs."""
MEANS_COLUMNS = (*LINE, "epoch", "n", "mean", "std", "sem")
RUNS_COLUMNS = (*LINE, "seed", "epoch", "value")
ENDS_COLUMNS = (*LINE, "epoch", "n", "value", "source", "macs")


@dataclass(frozen=True)
class Others:
    """Others' values of one metric for the lines of a sweep."""

    means: pd.DataFrame
    """`MEANS_COLUMNS`, by epoch; std and sem are NaN if only means are known."""
    runs: pd.DataFrame
    """`RUNS_COLUMNS`, if single runs are known."""
    ends: pd.DataFrame
    """`ENDS_COLUMNS`: values at the end of training; `epoch`, and `macs` (multiply-accumulates of an image)
    are NaN if unknown."""
    notes: Mapping[str, str]
    """A sentence on the curves of a figure, by its name."""

    @property
    def empty(self) -> bool:
        """True if no line has a value."""
        return self.means.empty and self.ends.empty


@dataclass(frozen=True)
class Curves:
    """A CSV file of curves: columns of conditions, `epoch`, `run` if any, and metrics."""

    file: str
    """Relative to the YAML's folder."""
    note: str = ""
    """Origin of the values, for the small print."""


@dataclass(frozen=True)
class Published:
    """A YAML file of published values: a name in `senet_lab/published`, or a path."""

    source: str
    """Paper and table."""
    where: dict[str, Any] = field(default_factory=dict)
    """Conditions on a run's config for all values, by dotted key; the data set is required."""
    runs: int | None = None
    """Runs behind each mean."""
    epoch: int | None = None
    """Last epoch of the runs, counted from 0."""
    ends: tuple[dict[str, Any], ...] = ()
    """Metrics at the end of training, with conditions on the config, and `macs` if they are known."""
    curves: tuple[Curves, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """Values for the runs that meet the conditions."""

    conditions: Mapping[str, Any]
    rows: pd.DataFrame
    """Columns of metrics, and `epoch`, `run`, `n`, `source` and `macs`."""
    note: str = ""
    """Note on a curve; empty for an end."""
    is_end: bool = False


NOTHING = Published("")
FOLDER = Path(senet_lab.__file__).parent / "published"


def names() -> list[str]:
    """The names in `senet_lab/published`."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def read_published(name: str | None) -> tuple[Published, Path]:
    """The content and folder of the file that a config's `published` names; `NOTHING` for None.

    Raises:
        UsageError: no such file, or an invalid one.
    """
    if name is None:
        return NOTHING, FOLDER
    file = Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"
    if not file.exists():
        known = ", ".join(names())
        raise UsageError(
            f"published={name}: {file} does not exist; one of {known}, or a path to a .yaml file"
        )
    content = typed(Published, read_yaml(file), file)
    if not content.ends and not content.curves:
        raise UsageError(f"{file}: neither ends nor curves")
    return content, file.parent


def published(panels: Iterable[Panel], name: str | None, metric: Metric) -> Others:
    """The published values of a metric for the lines of `panels`; lines without any are left out.

    Args:
        panels: panels of one sweep.
        name: the config's `published`.
        metric: the metric; an error is also found as 1 − a given accuracy.

    Raises:
        UsageError: see `read_published`; values without a data set or a metric; two ends for one line.
    """
    content, folder = read_published(name)
    entries = [*_curves(content, folder), *_ends(content)]
    lines = [(panel.name, line) for panel in panels for line in panel.lines]
    found = [
        (entry, part) for figure, line in lines for entry, part in _of_line(figure, line, entries, metric)
    ]
    ends = _joined([part for entry, part in found if entry.is_end])
    curves = _joined([part for entry, part in found if not entry.is_end])
    _check_ends(ends)
    runs = curves[curves["run"].notna()].rename(columns={"run": "seed"})
    bare = pd.concat([ends[ends["epoch"].notna()], curves[curves["run"].isna()]])
    # An end is more precise than values read off a plot; single runs take precedence.
    means = pd.concat([over_seeds(runs, [*LINE, "epoch"]), bare.rename(columns={"value": "mean"})])
    means = means.drop_duplicates([*LINE, "epoch"]).sort_values("epoch", kind="stable")
    return Others(
        means.reindex(columns=MEANS_COLUMNS).astype({"epoch": int}),
        runs[list(RUNS_COLUMNS)].astype({"epoch": int}),
        ends[list(ENDS_COLUMNS)],
        _notes([(entry, part) for entry, part in found if not entry.is_end]),
    )


def also_published(name: str | None, metric: Metric) -> list[Metric]:
    """The metrics other than `metric` with values at the end of training."""
    given = {key for row in read_published(name)[0].ends for key in row}
    return [
        other for other in known_metrics().values() if other.name in given and other.column != metric.column
    ]


def with_published(table: pd.DataFrame, others: Others) -> pd.DataFrame:
    """`curves.finals` with the `published` value, our `difference` from it, and its `source`.

    The difference is given only if our curve ends at the published epoch.
    """
    ends = others.ends.drop(columns=["n", "macs"])
    ends = ends.rename(columns={"value": "published", "epoch": "published_epoch"})
    joined = table.merge(ends, how="left", on=list(LINE))
    same = (joined["epoch"] == joined["published_epoch"]).fillna(False).astype(bool)
    difference = (joined["mean"] - joined["published"]).where(same)
    return joined.drop(columns="published_epoch").assign(difference=difference)


def published_headings(table: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """The columns of published values in `Results.finals` and of our means, with headings."""
    for column in table.columns:
        if column.endswith("_mean") and f"published_{column.removesuffix('_mean')}" in table:
            yield column, column.removesuffix("_mean")
        if column == "source" or column.split("_")[0] == "published":
            yield column, column.split("_")[0]


def _curves(content: Published, folder: Path) -> Iterator[_Entry]:
    """A curve for each combination of conditions in each file."""
    for curve in content.curves:
        file = folder / curve.file
        if not file.exists():
            raise UsageError(f"{file}, a file of published curves, does not exist")
        table = pd.read_csv(file)
        keys = _conditions(table.columns, str(file))
        _check_data_set([*content.where, *keys], str(file))
        rows = table.reindex(columns=list(dict.fromkeys([*table.columns, "epoch", "run", "macs"])))
        rows = rows.assign(n=content.runs, source=content.source)
        for values, part in rows.groupby(keys):
            yield _Entry({**content.where, **dict(zip(keys, values, strict=True))}, part, curve.note)


def _ends(content: Published) -> Iterator[_Entry]:
    for row in content.ends:
        keys = _conditions(row, f"{row}")
        conditions = {**content.where, **{key: row[key] for key in keys}}
        _check_data_set(conditions, f"{row}")
        given = {key: value for key, value in row.items() if key not in keys}
        known = {"epoch": content.epoch, "n": content.runs, "source": content.source}
        known |= {"run": None, "macs": None, **given}
        yield _Entry(conditions, pd.DataFrame([known]), is_end=True)


def _conditions(keys: Collection[str], source: str) -> list[str]:
    """The keys that are conditions on runs.

    Raises:
        UsageError: a key that is neither a metric, a field of a run's config nor another known column; no
            metric at all.
    """
    run_fields = [field.name for field in fields(RunConfig)]
    metrics = [key for key in keys if key in known_metrics() and key not in run_fields]
    found = [key for key in keys if key not in (*metrics, *NO_CONDITIONS)]
    wrong = [key for key in found if key.split(".")[0] not in (*LINE, *run_fields)]
    if wrong or not metrics:
        what = f"{wrong[0]} is neither a metric nor part of a run's config" if wrong else "no metric"
        raise UsageError(f"{source}: {what}; metrics: {', '.join(known_metrics())}")
    return found


def _check_data_set(conditions: Iterable[str], source: str) -> None:
    if not any(key.split(".")[0] == "dataset" for key in conditions):
        raise UsageError(f"{source}: name the data set, as in where: {{dataset.label: CIFAR-10}}")


def _of_line(
    figure: str, line: Line, entries: Sequence[_Entry], metric: Metric
) -> Iterator[tuple[_Entry, pd.DataFrame]]:
    """The entries for a line, with the metric's values as the column `value`."""
    values = {**dict(leaves(as_plain(line.config))), "figure": figure, "line": line.label}
    for entry in entries:
        if all(key in values and values[key] == wanted for key, wanted in entry.conditions.items()):
            rows = entry.rows
            given = rows[metric.name] if metric.name in rows else metric.of(rows)
            part = rows.assign(figure=figure, line=line.label, value=given).dropna(subset="value")
            if len(part):
                yield entry, part


def _joined(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    columns = [*LINE, "epoch", "run", "n", "value", "source", "macs"]
    if not parts:
        return pd.DataFrame(columns=columns)
    return pd.concat([part[columns] for part in parts], ignore_index=True)


def _check_ends(ends: pd.DataFrame) -> None:
    twice = ends[ends.duplicated(list(LINE))]
    if len(twice):
        figure, line = twice.iloc[0][list(LINE)]
        raise UsageError(
            f"published ends: several apply to the line {line} of figure {figure}: add conditions to them"
        )


def _notes(curves: Sequence[tuple[_Entry, pd.DataFrame]]) -> dict[str, str]:
    notes: dict[str, str] = {}
    for entry, part in curves:
        figure, runs = part["figure"].iloc[0], part["n"].iloc[0]
        band = " and band" if part["run"].notna().any() else ""
        of_runs = "" if pd.isna(runs) else f" of {counted(int(runs), 'run')}"
        notes.setdefault(figure, f"Dotted: published mean{band}{of_runs}{entry.note and f', {entry.note}'}.")
    return notes
